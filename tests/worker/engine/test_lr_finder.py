"""The learning-rate finder: what it chooses, and that it leaves no trace but the rate."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from app.specs.lr_finder import LRFinderSpec
from tests.worker.conftest import Recorder, make_rows, next_attempt
from tests.worker.engine.test_augment import make_trainer
from tests.worker.engine.test_resume import make_job, read_weights
from worker.engine.lr_finder import choose_rate, find_rate, has_diverged, smooth, tune_rate
from worker.engine.reporter import Stop
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]
FINDER = {"min": 1e-5, "max": 10.0, "steps": 40}


def job(family: str = "mlp", schedule: str = "cosine", **training: Any) -> tuple[Any, Any]:
    return make_job(family, "adam", schedule, lr_finder=FINDER, **training)


def stop_in_training(step: int) -> Recorder:
    """Asks to pause once `step` steps of training itself were made."""
    asked = 0

    def look(recorder: Recorder) -> Stop | None:
        nonlocal asked
        asked += ("phase", "training") in recorder.calls
        return Stop.PAUSE if asked > step else None

    return Recorder(look)


def read_rates(recorder: Recorder) -> list[float]:
    return [value for name, _, value in recorder.points if name == "train/lr"]


# ---------------------------------------------------------------- the choice


def test_the_rate_rises_by_the_same_factor_from_min_to_max() -> None:
    spec = LRFinderSpec(min=1e-4, max=1.0, steps=21)
    rates = [find_rate(spec, step) for step in range(21)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[5] == pytest.approx(1e-3)
    assert rates[20] == pytest.approx(1.0)


def test_a_tenth_of_the_rate_of_the_lowest_smoothed_loss_is_chosen() -> None:
    spec = LRFinderSpec(min=1e-4, max=1.0, steps=41)
    valley = [[find_rate(spec, step), abs(step - 30) / 10] for step in range(41)]
    assert choose_rate(valley, spec) == pytest.approx(find_rate(spec, 30) / 10)
    spike = [*valley[:5], [valley[5][0], 0.0], *valley[6:]]
    assert choose_rate(spike, spec) == pytest.approx(find_rate(spec, 30) / 10)
    near = [[find_rate(spec, step), abs(step - 4) / 10] for step in range(41)]
    assert choose_rate(near, spec) == spec.min


def test_nothing_is_chosen_where_the_loss_only_rises() -> None:
    spec = LRFinderSpec()
    assert choose_rate([[find_rate(spec, step), float(step)] for step in range(50)], spec) is None
    assert choose_rate([], spec) is None


def test_divergence_is_told_from_noise_whatever_the_sign_of_the_loss() -> None:
    flat = [[0.1, value] for value in (2.0, 2.1, 1.9, 2.0, 2.2, 2.1)]
    assert not has_diverged(flat, 2)
    assert has_diverged([*flat, [0.1, 5.0], [0.1, 5.0]], 2)
    counts = [[0.1, value] for value in (-3.0, -5.0, -9.0, -2.0, -2.0)]
    assert not has_diverged(counts, 2)
    assert has_diverged([*counts, [0.1, 8.0], [0.1, 9.0]], 2)


def test_smoothing_takes_what_neighbours_there_are() -> None:
    assert smooth([1.0, 2.0, 6.0, 7.0], 1) == [1.5, 3.0, 5.0, 6.5]


# ---------------------------------------------------------------- a job with it


@pytest.mark.parametrize(("family", "optimizer"), [("mlp", "adam"), ("linear", "sgd")])
def test_the_rate_found_learns_far_more_than_the_lowest(
    ask: Ask, family: str, optimizer: str
) -> None:
    rows = make_rows(200, classify=family != "linear")
    losses = []
    for finder in (FINDER, None):
        spec, _ = make_job(family, optimizer, "constant", epochs=10, lr_finder=finder)
        slow = spec.training.optimizer.model_copy(update={"lr": FINDER["min"]})
        training = spec.training.model_copy(update={"optimizer": slow})
        evaluation = run(ask(spec.model_copy(update={"training": training}), rows), Recorder())
        assert evaluation.evaluation is not None
        losses.append(evaluation.evaluation["test"]["loss"])
    assert losses[0] < 0.7 * losses[1]


def test_the_rate_and_its_curve_are_reported_and_used(ask: Ask) -> None:
    spec, rows = job(schedule="constant")
    request, recorder = ask(spec, rows), Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    (found,) = recorder.of("lr_finder")
    assert evaluation["lr_finder"] == found
    assert max(read_rates(recorder)) == found["chosen"]
    rates = [rate for rate, _ in found["points"]]
    assert rates == sorted(rates)
    assert len(rates) <= FINDER["steps"]
    assert FINDER["min"] <= found["chosen"] < FINDER["max"]
    kinds = [kind for kind, _ in recorder.calls]
    assert kinds.index("lr_finder") < recorder.calls.index(("phase", "training"))


@pytest.mark.parametrize("family", ["mlp", "cnn", "rnn"])
@pytest.mark.parametrize("more", [{}, {"accumulate": 2, "batch_size": 4, "ema_decay": 0.9}])
def test_all_but_the_rate_is_as_if_nothing_had_been_tried(
    ask: Ask, family: str, more: dict[str, Any]
) -> None:
    """Also the dropout, and the statistics of a batch norm."""
    spec, rows = job(family, **more)
    request = ask(spec, rows)
    found = Recorder()
    run(request, found)
    (facts,) = found.of("lr_finder")
    optimizer = spec.training.optimizer.model_copy(update={"lr": facts["chosen"]})
    training = spec.training.model_copy(update={"lr_finder": None, "optimizer": optimizer})
    plain, told = Recorder(), ask(spec.model_copy(update={"training": training}), rows)
    run(told, plain)
    assert read_weights(request, found, 18) == read_weights(told, plain, 18)
    assert sorted(found.points) == sorted(plain.points)


def test_the_weights_before_the_first_step_are_those_without_it(ask: Ask) -> None:
    spec, rows = job()
    trainer = make_trainer(ask(spec, rows))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    assert tune_rate(trainer) is None
    assert all(torch.equal(before[name], now) for name, now in trainer.model.state_dict().items())
    assert not trainer.optimizer.state
    assert (trainer.step, trainer.lr) == (0, None)
    assert all(param.grad is None for param in trainer.params)


@pytest.mark.parametrize("cut", [1, 6, 11])
def test_a_resumed_run_keeps_the_rate_and_its_bytes(ask: Ask, cut: int) -> None:
    spec, rows = job()
    request, whole = ask(spec, rows), Recorder()
    expected = run(request, whole)
    first, begun = next_attempt(request), stop_in_training(cut)
    assert run(first, begun).stopped is Stop.PAUSE
    second, rest = next_attempt(first, first.folder / f"s{cut}"), Recorder()
    result = run(second, rest)
    assert rest.of("lr_finder") == []  # it came with the checkpoint
    assert result.evaluation == expected.evaluation
    assert sorted(begun.points + rest.points) == sorted(whole.points)
    assert read_weights(second, rest, 18) == read_weights(request, whole, 18)


@pytest.mark.parametrize("stop", [Stop.PAUSE, Stop.CANCEL])
def test_a_stop_is_followed_at_the_next_step_of_the_trial(ask: Ask, stop: Stop) -> None:
    spec, rows = job()
    request, whole = ask(spec, rows), Recorder()
    run(request, whole)
    recorder = Recorder(lambda recorder: stop if recorder.reads > 3 else None)
    attempt = next_attempt(request)
    result = run(attempt, recorder)
    assert (result.stopped, result.saved, recorder.reads) == (stop, True, 4)
    assert recorder.of("lr_finder") == recorder.checkpoints == []
    again, later = next_attempt(attempt), Recorder()
    run(again, later)
    assert later.of("lr_finder") == whole.of("lr_finder")
    assert read_weights(again, later, 18) == read_weights(request, whole, 18)


def test_a_loss_that_never_falls_leaves_the_rate_and_says_so_also_after_a_cut(ask: Ask) -> None:
    finder = {"min": 500.0, "max": 1000.0, "steps": 20}
    spec, rows = make_job("logistic", "sgd", "constant", lr_finder=finder)
    request = ask(spec, rows)
    first = stop_in_training(4)
    run(request, first)
    (found,) = first.of("lr_finder")
    assert found["chosen"] == 0.02
    evaluation = run(next_attempt(request, request.folder / "s4"), Recorder()).evaluation
    assert evaluation is not None
    assert "no loss below the first" in first.warnings
    assert any("no loss below the first" in message for message in evaluation["warnings"])


def test_a_trial_that_diverges_ends_early_and_does_no_harm(ask: Ask) -> None:
    spec, rows = make_job(
        "linear", "sgd", "constant", lr_finder={"min": 1e-4, "max": 1000.0, "steps": 200}
    )
    recorder = Recorder()
    evaluation = run(ask(spec, rows), recorder).evaluation
    (found,) = recorder.of("lr_finder")
    assert len(found["points"]) < 200
    assert evaluation is not None
    assert math.isfinite(evaluation["test"]["loss"])


@pytest.mark.parametrize(
    "fields", [{"min": 0.1, "max": 0.1}, {"min": 1.0, "max": 0.1}, {"steps": 5}, {"min": 0.0}]
)
def test_nonsense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LRFinderSpec.model_validate(fields)
