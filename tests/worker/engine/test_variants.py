"""Losses, optimizers, schedules and metrics against torch and scikit-learn."""

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from sklearn import metrics as sk
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adagrad, Adam, AdamW, Muon, NAdam, Optimizer, RMSprop, lr_scheduler

from app.specs.losses import (
    BinaryCrossEntropySpec,
    CrossEntropySpec,
    FocalSpec,
    HuberSpec,
    MAESpec,
    MSESpec,
    PoissonSpec,
    QuantileSpec,
)
from app.specs.models import MLPSpec
from app.specs.optimizers import (
    AdagradSpec,
    AdamSpec,
    AdamWSpec,
    LionSpec,
    MuonSpec,
    NAdamSpec,
    OptimizerSpec,
    RMSpropSpec,
    SGDSpec,
)
from app.specs.schedules import (
    ConstantSpec,
    CosineSpec,
    LinearDecaySpec,
    OneCycleSpec,
    StepSpec,
)
from worker import registry
from worker.losses import weigh_classes
from worker.optimizers import split_decay


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


def test_smoothed_binary_cross_entropy_is_that_of_two_logits() -> None:
    loss = registry.build_loss(BinaryCrossEntropySpec(label_smoothing=0.2))
    outputs, targets = random_tensor(9, 1), torch.arange(9) % 2
    pairs = torch.cat([torch.zeros(9, 1), outputs], 1)
    expected = F.cross_entropy(pairs, targets, label_smoothing=0.2)
    torch.testing.assert_close(loss.compute(outputs, loss.shape_targets(targets)), expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_focal_loss_and_its_gradient_are_those_of_the_formula(gamma: float) -> None:
    loss = registry.build_loss(FocalSpec(gamma=gamma))
    outputs, targets = random_tensor(9, loss.outputs(4)).double(), torch.arange(9) % 4

    def formula(outputs: Tensor) -> Tensor:
        p = outputs.softmax(1)[torch.arange(9), targets]
        return ((1 - p) ** gamma * -p.log()).mean()

    results = []
    for compute in (lambda o: loss.compute(o, loss.shape_targets(targets)), formula):
        point = outputs.clone().requires_grad_()
        value = compute(point)
        value.backward()
        results.append((value.detach(), point.grad))
    torch.testing.assert_close(results[0], results[1])


def test_focal_loss_of_certain_rows_has_a_finite_gradient() -> None:
    loss = registry.build_loss(FocalSpec(gamma=0.5))
    outputs = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss.compute(outputs, torch.tensor([0, 0])).backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


def test_the_pinball_loss_is_that_of_scikit_learn_and_its_guess_the_best_constant() -> None:
    loss = registry.build_loss(QuantileSpec(q=0.8))
    outputs, targets = random_tensor(30, 1), random_tensor(30, seed=1)
    expected = sk.mean_pinball_loss(targets, outputs[:, 0], alpha=0.8)
    assert loss.compute(outputs, loss.shape_targets(targets)).item() == pytest.approx(expected)

    def measure(constant: Tensor) -> float:
        return loss.compute(constant.expand(30, 1), targets.unsqueeze(1)).item()

    best = min(measure(each) for each in targets)
    assert measure(loss.guess(targets)) == pytest.approx(best)


def test_poisson_loss_is_half_the_deviance_of_scikit_learn_up_to_a_constant() -> None:
    loss = registry.build_loss(PoissonSpec())
    outputs, targets = random_tensor(30, 1), torch.arange(30.0) % 5
    found = [loss.compute(each, loss.shape_targets(targets)) for each in (outputs, -outputs)]
    deviances = [sk.mean_poisson_deviance(targets, each.exp()) for each in (outputs, -outputs)]
    assert (found[0] - found[1]).item() == pytest.approx(
        (deviances[0] - deviances[1]) / 2, abs=1e-5
    )


@pytest.mark.parametrize("spec", [CrossEntropySpec(), FocalSpec(), BinaryCrossEntropySpec()])
def test_class_weights_multiply_the_loss_of_each_row(spec: Any) -> None:
    loss = registry.build_loss(spec)
    outputs, targets = random_tensor(9, loss.outputs(2)), torch.arange(9) % 2
    shaped = loss.shape_targets(targets)
    weighted = weigh_classes(loss, torch.tensor([1.0, 3.0])).compute(outputs, shaped)
    singles = [loss.compute(outputs[n : n + 1], shaped[n : n + 1]) for n in range(9)]
    expected = sum((1 + 2 * (n % 2)) * single for n, single in enumerate(singles)) / 9
    torch.testing.assert_close(weighted, expected)
    plain = weigh_classes(loss, torch.ones(2)).compute(outputs, shaped)
    torch.testing.assert_close(plain, loss.compute(outputs, shaped))


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
        (
            AdagradSpec(lr=0.1, lr_decay=0.1, weight_decay=0.1),
            lambda p: Adagrad(p, lr=0.1, lr_decay=0.1, weight_decay=0.1),
        ),
        (
            NAdamSpec(lr=0.1, beta1=0.8, weight_decay=0.1),
            lambda p: NAdam(
                p, lr=0.1, betas=(0.8, 0.999), weight_decay=0.1, decoupled_weight_decay=True
            ),
        ),
        (
            MuonSpec(lr=0.1, momentum=0.9, weight_decay=0.2),
            lambda p: Muon(
                p, lr=0.1, momentum=0.9, weight_decay=0.2, adjust_lr_fn="match_rms_adamw"
            ),
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


def test_lion_is_that_of_its_paper() -> None:
    """Algorithm 2, row by row."""
    spec = LionSpec(lr=0.1, beta1=0.8, beta2=0.9, weight_decay=0.3)
    weight = nn.Parameter(random_tensor(3, 4))
    theta, momentum = weight.detach().clone(), torch.zeros(3, 4)
    optimizer = registry.build_optimizer(spec, [weight])
    for step in range(5):
        grad = weight.grad = random_tensor(3, 4, seed=step)
        optimizer.step()
        update = torch.sign(0.8 * momentum + 0.2 * grad)
        theta = theta - 0.1 * (update + 0.3 * theta)
        momentum = 0.9 * momentum + 0.1 * grad
        torch.testing.assert_close(weight.detach(), theta)


def test_muon_leaves_what_is_no_matrix_to_adamw() -> None:
    vector, alone = (nn.Parameter(random_tensor(4)) for _ in range(2))
    matrix = nn.Parameter(random_tensor(3, 4))
    pair = registry.build_optimizer(MuonSpec(lr=0.1, weight_decay=0.2), [vector, matrix])
    reference = AdamW([alone], lr=0.1, weight_decay=0.2)
    for step in range(5):
        vector.grad = alone.grad = random_tensor(4, seed=step)
        matrix.grad = random_tensor(3, 4, seed=step)
        pair.step()
        reference.step()
    torch.testing.assert_close(vector, alone)


@pytest.mark.parametrize("name", registry.list_variants("optimizers"))
def test_decay_on_weights_spares_biases(name: str) -> None:
    weight, bias = nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(4))
    spec = TypeAdapter(OptimizerSpec).validate_python(
        {"type": name, "lr": 0.1, "weight_decay": 0.5}
    )
    optimizer = registry.build_optimizer(spec, split_decay([bias, weight]))
    weight.grad, bias.grad = torch.zeros(3, 4), torch.zeros(4)
    optimizer.step()
    assert torch.equal(bias.detach(), torch.ones(4))
    assert (weight < 1).all()


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
        ("median_absolute_error", sk.median_absolute_error),
        ("mape", sk.mean_absolute_percentage_error),
    ],
)
def test_regression_metrics_match_scikit_learn(name: Any, reference: Any) -> None:
    outputs, targets = random_tensor(30).double(), random_tensor(30, seed=1).double()
    score = registry.find_metric(name)(outputs, targets).item()
    assert score == pytest.approx(reference(targets, outputs))


@pytest.mark.parametrize("classes", [2, 3])
def test_scores_of_probabilities_match_scikit_learn(classes: int) -> None:
    shares = random_tensor(40, classes).double().softmax(1)
    targets = torch.arange(40) % classes
    binary, truth = classes == 2, F.one_hot(targets, classes)
    scores = shares[:, 1] if binary else shares
    areas = sk.average_precision_score(targets if binary else truth, scores)
    expected = {
        "pr_auc": areas,
        "log_loss": sk.log_loss(targets, shares),
        "balanced_accuracy": sk.balanced_accuracy_score(targets, shares.argmax(1)),
        "brier": sk.brier_score_loss(targets, scores)
        if binary
        else (shares - truth).square().sum(1).mean(),
    }
    for name, value in expected.items():
        assert registry.find_metric(name)(shares, targets).item() == pytest.approx(float(value))


def test_the_calibration_error_is_the_gap_in_each_bin() -> None:
    sure = torch.tensor([[0.9, 0.1]] * 10)  # right in 6 of 10: a gap of 0.3
    unsure = torch.tensor([[0.45, 0.55]] * 10)  # right in 5 of 10: a gap of 0.05
    targets = torch.tensor([0] * 6 + [1] * 4 + [0, 1] * 5)
    error = registry.find_metric("calibration_error")(torch.cat([sure, unsure]), targets)
    assert error.item() == pytest.approx(0.175)


def test_a_percentage_of_nothing_is_undefined() -> None:
    assert registry.find_metric("mape")(random_tensor(4), torch.tensor([1.0, 0, 2, 3])).isnan()


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
