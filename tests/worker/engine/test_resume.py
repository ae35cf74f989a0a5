"""A run that was cut and resumed equals one that was not: weights, points, evaluation."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from app.specs import JobSpec
from app.specs.losses import CLASSIFICATION_LOSSES
from app.specs.optimizers import SGDSpec
from tests.worker.conftest import (
    READERS,
    Recorder,
    make_rows,
    make_spec,
    make_text_rows,
    next_attempt,
    stop_at,
)
from worker import registry
from worker.engine.reporter import Stop
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]
KINDS = ("models", "optimizers", "schedules")
VARIANTS = list(product(*(registry.list_variants(kind) for kind in KINDS)))
TRAINING: dict[str, Any] = {"epochs": 3, "batch_size": 8, "log_every": 4}
STEPS = 3 * 6  # 42 training rows in batches of 8


def make_job(family: str, optimizer: str, schedule: str, **training: Any) -> tuple[JobSpec, Any]:
    linear = family == "linear"
    momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
    spec = make_spec(
        model={"type": family, **({"dropout": 0.3} if family == "mlp" else {})},
        training={
            **TRAINING,
            "optimizer": {"type": optimizer, "lr": 0.02, **momentum},
            "schedule": {"type": schedule, "warmup": 0.2},
            "loss": {"type": "mse" if linear else "cross_entropy"},
            **training,
        },
        evaluation={"metrics": ["r2" if linear else "accuracy"]},
    )
    return spec, make_text_rows() if family in READERS else make_rows(classify=not linear)


def read_weights(request: Request, recorder: Recorder, step: int) -> bytes:
    (saved,) = [each for each in recorder.checkpoints if each.step == step]
    return (request.folder.parent / saved.name / "model.safetensors").read_bytes()


def assert_equal_runs(request: Request, cuts: list[int], steps: int = STEPS) -> None:
    whole = Recorder()
    expected = run(request, whole)
    attempt, points = next_attempt(request), []
    for start, cut in pairwise([0, *cuts]):
        recorder = stop_at(cut - start)
        assert run(attempt, recorder).stopped is Stop.PAUSE
        points += recorder.points
        newest = max(recorder.checkpoints, key=lambda saved: saved.step)
        assert newest.step == cut
        attempt = next_attempt(attempt, request.folder.parent / newest.name)
    last = Recorder()
    result = run(attempt, last)
    points += last.points
    assert sorted(points) == sorted(whole.points)
    assert result.evaluation == expected.evaluation
    assert read_weights(attempt, last, steps) == read_weights(request, whole, steps)
    assert last.of("resumed")[0]["step"] == cuts[-1]


@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_a_resumed_run_equals_an_uninterrupted_one(ask: Ask, variant: tuple[str, ...]) -> None:
    spec, rows = make_job(*variant)
    cut = 1 + VARIANTS.index(variant) % (STEPS - 1)
    assert_equal_runs(ask(spec, rows), [cut])


def test_a_run_may_be_cut_anywhere_and_often(ask: Ask) -> None:
    spec, rows = make_job("mlp", "adam", "cosine")
    assert_equal_runs(ask(spec, rows), [1, 2, 4, 6, 7, 11, 12, 17])


@pytest.mark.parametrize(
    "training",
    [
        {"precision": "bfloat16"},
        {"accumulate": 2, "batch_size": 4},
        {"ema_decay": 0.9},
        {"weight_decay_on": "weights"},
        {
            "accumulate": 4,
            "batch_size": 2,
            "ema_decay": 0.5,
            "weight_decay_on": "weights",
            "l2": 0.1,
        },
    ],
)
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_option_of_training_survives_a_cut(
    ask: Ask, training: dict[str, Any], optimizer: str
) -> None:
    spec, rows = make_job("mlp", optimizer, "cosine", **training)
    assert_equal_runs(ask(spec, rows), [3, 12])


@pytest.mark.parametrize("loss", registry.list_variants("losses"))
def test_every_loss_trains_and_survives_a_cut(ask: Ask, loss: str) -> None:
    classify = loss in CLASSIFICATION_LOSSES
    training = {"loss": {"type": loss}, **({"class_weights": "balanced"} if classify else {})}
    spec, rows = make_job("logistic" if classify else "linear", "adam", "constant", **training)
    if loss == "binary_cross_entropy":
        rows["y"] = ["no" if label == "c0" else "yes" for label in rows["y"]]
    if loss == "poisson":
        rows["y"] = [max(0, round(value) + 40) for value in rows["y"]]
    assert_equal_runs(ask(spec, rows), [7])
    recorder = Recorder()
    run(ask(spec, rows), recorder)
    losses = [value for name, _, value in recorder.points if name == "train/loss"]
    assert losses[-1] < losses[0]


def test_early_stopping_survives_a_cut(ask: Ask) -> None:
    stopping = {"metric": "validation/accuracy", "patience": 2}
    spec, rows = make_job("logistic", "sgd", "constant", epochs=30, early_stopping=stopping)
    whole = Recorder()
    run(ask(spec, rows), whole)
    end = max(step for _, step, _ in whole.points)
    assert end < 30 * 6
    assert_equal_runs(ask(spec, rows), [end - 7, end - 1], end)


def test_a_damaged_checkpoint_is_skipped_for_an_older_one(ask: Ask) -> None:
    spec, rows = make_job("mlp", "adam", "cosine")
    request = ask(spec, rows)
    whole = Recorder()
    run(request, whole)
    first = next_attempt(request)
    run(first, stop_at(5))
    second = next_attempt(first, first.folder / "s5")
    run(second, stop_at(4))
    damage(second.folder / "s9" / "model.safetensors")
    recorder = Recorder()
    third = next_attempt(second, second.folder / "s9", first.folder / "s5")
    run(third, recorder)
    assert recorder.of("resumed")[0] == {
        "checkpoint": "a2/s5",
        "step": 5,
        "rows_repeated": 0,
        "rows_skipped": 0,
    }
    assert "a3/s9 could not be used" in recorder.warnings
    assert read_weights(third, recorder, STEPS) == read_weights(request, whole, STEPS)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def test_without_an_intact_checkpoint_a_job_starts_anew(ask: Ask) -> None:
    request = ask(make_spec())
    recorder = Recorder()
    run(replace(request, resume=(request.folder / "s7",)), recorder)
    assert [facts["step"] for facts in recorder.of("resumed")] == [0]
    assert "could not be used" in recorder.warnings


def test_a_finished_job_is_not_trained_or_reported_again(ask: Ask) -> None:
    request, whole = ask(make_spec(training={"epochs": 2})), Recorder()
    evaluation = run(request, whole).evaluation
    last = max(whole.checkpoints, key=lambda saved: saved.step)
    recorder = Recorder()
    again = next_attempt(request, request.folder.parent / last.name)
    assert run(again, recorder).evaluation == evaluation
    assert recorder.points == []
    assert recorder.checkpoints == []


def test_the_best_weights_survive_a_cut(ask: Ask) -> None:
    """The learning rate is so high that the fourth of six epochs is the best."""
    spec, rows = make_job("linear", "sgd", "constant", epochs=6)
    sgd = SGDSpec(lr=0.6)
    spec = spec.model_copy(update={"training": spec.training.model_copy(update={"optimizer": sgd})})
    evaluation = run(ask(spec, rows), Recorder()).evaluation
    assert evaluation is not None
    assert 6 < evaluation["checkpoint_step"] < 33
    assert_equal_runs(ask(spec, rows), [20, 33], 36)


def test_same_seed_same_bytes(ask: Ask) -> None:
    contents = set()
    for _ in range(2):
        spec, rows = make_job("mlp", "adamw", "one_cycle")
        request, recorder = ask(spec, rows), Recorder()
        run(request, recorder)
        contents.add(read_weights(request, recorder, STEPS))
    assert len(contents) == 1


def test_another_seed_gives_other_weights(ask: Ask) -> None:
    contents = set()
    for seed in range(2):
        spec, rows = make_job("mlp", "adamw", "one_cycle", seed=seed)
        request, recorder = ask(spec, rows), Recorder()
        run(request, recorder)
        contents.add(read_weights(request, recorder, STEPS))
    assert len(contents) == 2
