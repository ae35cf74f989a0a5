"""Losses and metrics of several targets against torch, torchmetrics and scikit-learn."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from sklearn import metrics as sk
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional import classification as tm
from torchmetrics.functional import regression as tr

from app.specs.losses import LABEL_LOSSES, REGRESSION_LOSSES, FocalSpec, LossSpec
from app.specs.training import CLASSIFICATION_METRICS, REGRESSION_METRICS, MetricName
from tests.worker.engine.test_variants import random_tensor
from worker import registry
from worker.engine.build import balance_labels
from worker.engine.evaluate import measure
from worker.losses import Loss, compare_labels

ROWS, K = 40, 3


def build_loss(name: str, **fields: Any) -> Loss:
    return registry.build_loss(TypeAdapter(LossSpec).validate_python({"type": name, **fields}))


def make_labels() -> Tensor:
    """(N, K)"""
    return (random_tensor(ROWS, K, seed=1) > 0.3).long()


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("name", REGRESSION_LOSSES)
def test_the_loss_of_several_numbers_is_the_mean_of_their_losses(name: str) -> None:
    loss = build_loss(name)
    outputs, targets = random_tensor(ROWS, K), random_tensor(ROWS, K, seed=1).abs()
    whole = loss.compute(outputs, loss.shape_targets(targets))
    each = [
        loss.compute(outputs[:, k : k + 1], loss.shape_targets(targets[:, k])) for k in range(K)
    ]
    torch.testing.assert_close(whole, torch.stack(each).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_cross_entropy_of_several_labels_is_that_of_torch(smoothing: float) -> None:
    loss = compare_labels(build_loss("binary_cross_entropy", label_smoothing=smoothing))
    outputs, targets = random_tensor(ROWS, K), make_labels()
    smooth = targets * (1 - smoothing) + smoothing / 2
    torch.testing.assert_close(
        loss.compute(outputs, loss.shape_targets(targets)),
        F.binary_cross_entropy_with_logits(outputs, smooth),
    )


@pytest.mark.parametrize("gamma", [0.0, 2.5])
def test_the_focal_loss_of_labels_is_that_of_the_formula(gamma: float) -> None:
    loss = compare_labels(registry.build_loss(FocalSpec(gamma=gamma)))
    outputs, targets = random_tensor(ROWS, K).double().requires_grad_(), make_labels()
    p = torch.where(targets == 1, outputs.sigmoid(), 1 - outputs.sigmoid())
    expected = ((1 - p) ** gamma * -p.log()).mean()
    found = loss.compute(outputs, loss.shape_targets(targets).double())
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, outputs)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_balanced_labels_weigh_as_scikit_learn_weighs_classes(name: str) -> None:
    loss, targets = build_loss(name), make_labels()
    outputs = random_tensor(ROWS, K)
    weights = balance_labels(targets)
    for k in range(K):
        counts = torch.bincount(targets[:, k], minlength=2)
        torch.testing.assert_close(weights[k], ROWS / (2 * counts))
    assert loss.per_label is not None
    cells = loss.per_label(outputs, targets.float())
    expected = sum(
        weights[k, int(targets[n, k])] * cells[n, k] for n in range(ROWS) for k in range(K)
    ) / (ROWS * K)
    weighted = compare_labels(loss, weights).compute(outputs, targets.float())
    torch.testing.assert_close(weighted, torch.as_tensor(expected))


def test_a_class_that_no_training_row_has_weighs_one() -> None:
    assert balance_labels(torch.zeros(4, 1).long()).tolist() == [[0.5, 1.0]]


# ---------------------------------------------------------------- metrics

MULTILABEL: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "accuracy": lambda p, y: tm.multilabel_accuracy(p, y, K, average="macro"),
    "exact_match": lambda p, y: tm.multilabel_exact_match(p, y, K),
    "f1": lambda p, y: tm.multilabel_f1_score(p, y, K, average="macro"),
    "precision": lambda p, y: tm.multilabel_precision(p, y, K, average="macro"),
    "recall": lambda p, y: tm.multilabel_recall(p, y, K, average="macro"),
    "roc_auc": lambda p, y: tm.multilabel_auroc(p, y, K, average="macro"),
    "pr_auc": lambda p, y: tm.multilabel_average_precision(p, y, K, average="macro"),
    "brier": lambda p, y: (p - y).square().mean(),
    "log_loss": F.binary_cross_entropy,
    "balanced_accuracy": lambda p, y: average(sk.balanced_accuracy_score, y, (p > 0.5).long()),
    "calibration_error": lambda p, y: average(
        lambda truth, share: tm.multiclass_calibration_error(
            torch.stack([1 - share, share], 1), truth, 2, n_bins=15
        ),
        y,
        p,
    ),
}
MULTIOUTPUT: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "r2": lambda o, y: tr.r2_score(o, y, multioutput="uniform_average"),
    "mae": lambda o, y: tr.mean_absolute_error(o, y, num_outputs=K).mean(),
    "mse": lambda o, y: tr.mean_squared_error(o, y, num_outputs=K).mean(),
    "rmse": lambda o, y: tr.mean_squared_error(o, y, squared=False, num_outputs=K).mean(),
    "median_absolute_error": lambda o, y: sk.median_absolute_error(y, o),
    "mape": lambda o, y: sk.mean_absolute_percentage_error(y, o),
}


def average(score: Callable[[Tensor, Tensor], Any], truth: Tensor, found: Tensor) -> float:
    return sum(float(score(truth[:, k], found[:, k])) for k in range(K)) / K


def test_every_metric_is_compared() -> None:
    assert MULTILABEL.keys() == set(CLASSIFICATION_METRICS)
    assert MULTIOUTPUT.keys() == set(REGRESSION_METRICS)
    assert MULTILABEL.keys() | MULTIOUTPUT.keys() == set(get_args(MetricName))


@pytest.mark.parametrize("name", MULTILABEL)
def test_the_metrics_of_labels_match_torchmetrics(name: Any) -> None:
    shares, targets = random_tensor(ROWS, K).sigmoid().double(), make_labels()
    found = measure(name, torch.stack([1 - shares, shares], 2), targets)
    truth = targets.double() if name == "log_loss" else targets
    assert found.item() == pytest.approx(float(MULTILABEL[name](shares, truth)), abs=1e-6)


@pytest.mark.parametrize("name", MULTIOUTPUT)
def test_the_metrics_of_several_numbers_match_torchmetrics(name: Any) -> None:
    outputs, targets = random_tensor(ROWS, K).double(), random_tensor(ROWS, K, seed=1).double()
    found = measure(name, outputs, targets)
    assert found.item() == pytest.approx(float(MULTIOUTPUT[name](outputs, targets)))


def test_what_is_undefined_for_one_target_is_averaged_over_the_others() -> None:
    outputs, targets = random_tensor(ROWS, 2), random_tensor(ROWS, 2, seed=1)
    targets[:, 1] = 3.0
    alone = measure("r2", outputs[:, 0], targets[:, 0])
    torch.testing.assert_close(measure("r2", outputs, targets), alone, check_dtype=False)


def test_an_exact_match_of_one_target_is_its_accuracy() -> None:
    shares, targets = random_tensor(ROWS, 4).softmax(1), torch.arange(ROWS) % 4
    assert measure("exact_match", shares, targets) == measure("accuracy", shares, targets)
