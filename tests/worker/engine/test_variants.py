"""Losses, optimizers, schedules and metrics against torch and scikit-learn."""

from typing import Any

import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop, lr_scheduler

from app.specs.losses import (
    BinaryCrossEntropySpec,
    CrossEntropySpec,
    HuberSpec,
    MAESpec,
    MSESpec,
)
from app.specs.models import MLPSpec
from app.specs.optimizers import AdamSpec, AdamWSpec, RMSpropSpec, SGDSpec
from app.specs.schedules import (
    ConstantSpec,
    CosineSpec,
    LinearDecaySpec,
    OneCycleSpec,
    StepSpec,
)
from worker import registry


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- losses


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (MSESpec(), lambda o, y: (o[:, 0] - y).square().mean()),
        (MAESpec(), lambda o, y: (o[:, 0] - y).abs().mean()),
        (HuberSpec(delta=0.5), lambda o, y: nn.HuberLoss(delta=0.5)(o[:, 0], y)),
    ],
)
def test_regression_losses_match_torch(spec: Any, reference: Any) -> None:
    loss = registry.build_loss(spec)
    outputs, targets = random_tensor(9, loss.outputs(0)), random_tensor(9, seed=1)
    torch.testing.assert_close(
        loss.compute(outputs, loss.shape_targets(targets)), reference(outputs, targets)
    )


def test_cross_entropy_matches_torch() -> None:
    loss = registry.build_loss(CrossEntropySpec(label_smoothing=0.1))
    outputs, targets = random_tensor(9, loss.outputs(4)), torch.arange(9) % 4
    expected = F.cross_entropy(outputs, targets, label_smoothing=0.1)
    torch.testing.assert_close(loss.compute(outputs, loss.shape_targets(targets)), expected)


def test_binary_cross_entropy_is_that_of_two_logits() -> None:
    loss = registry.build_loss(BinaryCrossEntropySpec())
    outputs, targets = random_tensor(9, loss.outputs(2)), torch.arange(9) % 2
    expected = F.cross_entropy(torch.cat([torch.zeros(9, 1), outputs], 1), targets)
    torch.testing.assert_close(loss.compute(outputs, loss.shape_targets(targets)), expected)


# ---------------------------------------------------------------- optimizers


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (SGDSpec(lr=0.1), lambda p: SGD(p, lr=0.1)),
        (
            SGDSpec(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
            lambda p: SGD(p, lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.1),
        ),
        (
            AdamSpec(lr=0.1, beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.1),
            lambda p: Adam(p, lr=0.1, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1, foreach=False),
        ),
        (
            AdamWSpec(lr=0.1, weight_decay=0.2),
            lambda p: AdamW(p, lr=0.1, weight_decay=0.2, foreach=False),
        ),
        (
            RMSpropSpec(lr=0.1, alpha=0.9, momentum=0.5, weight_decay=0.1),
            lambda p: RMSprop(p, lr=0.1, alpha=0.9, momentum=0.5, weight_decay=0.1),
        ),
    ],
)
def test_optimizers_match_torch(spec: Any, reference: Any) -> None:
    def descend(build: Any) -> Tensor:
        weight = nn.Parameter(random_tensor(3, 4))
        optimizer: Optimizer = build([weight])
        for step in range(5):
            weight.grad = random_tensor(3, 4, seed=step) + weight.detach()
            optimizer.step()
        return weight.detach()

    ours = descend(lambda params: registry.build_optimizer(spec, params))
    torch.testing.assert_close(ours, descend(reference))


# ---------------------------------------------------------------- schedules

STEPS = 21


def list_factors(spec: Any) -> list[float]:
    factor = registry.build_schedule(spec, STEPS, steps_per_epoch=5)
    return [factor(step) for step in range(STEPS)]


def list_torch_factors(build: Any) -> list[float]:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(optimizer)
    factors = []
    for _ in range(STEPS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("spec", "reference"),
    [
        (ConstantSpec(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (
            StepSpec(every_epochs=2, gamma=0.5),
            lambda o: lr_scheduler.StepLR(o, step_size=10, gamma=0.5),
        ),
        (
            CosineSpec(floor=0.1),
            lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS - 1, eta_min=0.1),
        ),
        (
            LinearDecaySpec(floor=0.2),
            lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=STEPS - 1),
        ),
    ],
)
def test_schedules_match_torch(spec: Any, reference: Any) -> None:
    assert list_factors(spec) == pytest.approx(list_torch_factors(reference))


def test_one_cycle_falls_as_in_torch() -> None:
    factors = list_factors(OneCycleSpec(warmup=0.25, start_divisor=25, final_divisor=1e4))
    rising = 5

    def build(optimizer: Optimizer) -> Any:
        share = (rising + 1) / STEPS  # torch counts the peak as a step of the rise
        return lr_scheduler.OneCycleLR(
            optimizer, 1.0, STEPS, pct_start=share, div_factor=25, final_div_factor=400
        )

    assert factors[rising:] == pytest.approx(list_torch_factors(build)[rising:])
    assert factors[0] == pytest.approx(1 / 25)
    assert factors[-1] == pytest.approx(1e-4)


def test_warmup_rises_in_a_straight_line_to_the_full_rate() -> None:
    factors = list_factors(ConstantSpec(warmup=0.25))
    assert factors[:6] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert set(factors[5:]) == {1.0}


def test_a_schedule_with_warmup_still_ends_at_its_floor() -> None:
    assert list_factors(CosineSpec(warmup=0.25, floor=0.1))[-1] == pytest.approx(0.1)
    assert list_factors(LinearDecaySpec(warmup=0.25, floor=0.1))[-1] == pytest.approx(0.1)


# ---------------------------------------------------------------- metrics


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["accuracy", "f1", "precision", "recall", "roc_auc"])
def test_classification_metrics_match_scikit_learn(name: Any, classes: int) -> None:
    shares = random_tensor(40, classes).softmax(1)
    targets = torch.arange(40) % classes
    chosen, average = shares.argmax(1), "binary" if classes == 2 else "macro"
    score = registry.find_metric(name)(shares, targets).item()
    if name == "accuracy":
        expected = sk.accuracy_score(targets, chosen)
    elif name == "roc_auc":
        scores = shares[:, 1] if classes == 2 else shares
        expected = sk.roc_auc_score(targets, scores, multi_class="ovr")
    else:
        expected = getattr(sk, f"{name}_score")(targets, chosen, average=average)
    assert score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("r2", sk.r2_score),
        ("mae", sk.mean_absolute_error),
        ("mse", sk.mean_squared_error),
        ("rmse", sk.root_mean_squared_error),
    ],
)
def test_regression_metrics_match_scikit_learn(name: Any, reference: Any) -> None:
    outputs, targets = random_tensor(30).double(), random_tensor(30, seed=1).double()
    score = registry.find_metric(name)(outputs, targets).item()
    assert score == pytest.approx(reference(targets, outputs))


def test_r2_of_targets_that_do_not_vary_is_undefined() -> None:
    assert registry.find_metric("r2")(random_tensor(4), torch.ones(4)).isnan()


@pytest.mark.parametrize("classes", [2, 3])
def test_roc_auc_of_one_class_is_undefined(classes: int) -> None:
    shares = random_tensor(4, classes).softmax(1)
    assert registry.find_metric("roc_auc")(shares, torch.zeros(4).long()).isnan()


def test_a_class_unseen_in_training_counts_as_wrong() -> None:
    shares = torch.eye(3)
    assert registry.find_metric("accuracy")(shares, torch.tensor([0, 1, 3])) == pytest.approx(2 / 3)


# ---------------------------------------------------------------- models


def test_dropout_is_off_when_predicting() -> None:
    model = registry.build_model(MLPSpec(dropout=0.5), (4,), 2).eval()
    inputs = random_tensor(3, 4)
    assert torch.equal(model(inputs), model(inputs))
