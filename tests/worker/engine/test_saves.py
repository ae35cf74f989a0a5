"""What is saved is sound; a pause without a save is refused; another job's state is taken over."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.worker.conftest import REGRESSION, Recorder, make_rows, make_spec, stop_at
from worker.engine.errors import NonFiniteLoss
from worker.engine.reporter import Stop
from worker.engine.request import INHERITED, Request
from worker.engine.run import run

Ask = Callable[..., Request]
SPEC = make_spec(training={"epochs": 4, "optimizer": {"type": "adam", "lr": 0.02}})
PER_EPOCH = 6  # 42 training rows in batches of 8


def obstruct(request: Request, step: int) -> None:
    """No checkpoint of `step` can get its name, as if the disk said no."""
    (request.folder / f"s{step}" / "in the way").mkdir(parents=True)


def test_a_pause_that_cannot_save_is_refused_and_training_goes_on(ask: Ask) -> None:
    request, recorder = ask(SPEC), stop_at(4)
    obstruct(request, 4)

    result = run(request, recorder)

    assert len(recorder.of("refused")) == 1
    assert "step 4 could not be written" in recorder.warnings
    assert (result.stopped, result.saved) == (Stop.PAUSE, True)
    assert [saved.step for saved in recorder.checkpoints] == [5]  # it was asked again at once


def test_a_pause_that_cannot_save_the_best_weights_is_refused(ask: Ask) -> None:
    request, recorder = ask(SPEC), stop_at(PER_EPOCH + 2)
    obstruct(request, PER_EPOCH)

    run(request, recorder)

    assert recorder.of("refused")


@pytest.mark.parametrize("stop", [Stop.CANCEL, Stop.RELEASE, Stop.TIMEOUT])
def test_any_other_stop_stops_and_tells_that_nothing_was_saved(ask: Ask, stop: Stop) -> None:
    request, recorder = ask(SPEC), stop_at(4, stop)
    obstruct(request, 4)

    result = run(request, recorder)

    assert (result.stopped, result.saved) == (stop, False)
    assert recorder.checkpoints == []
    assert recorder.of("refused") == []


def test_weights_that_are_not_finite_are_never_saved(ask: Ask) -> None:
    """One step of this breaks the weights while its own loss is finite."""
    rows = make_rows(classify=False)
    rows["a"] = [value * 1e35 for value in rows["a"]]
    spec = make_spec(
        model=REGRESSION["model"],
        dataset={"scale": "none"},
        training={"loss": {"type": "mse"}, "optimizer": {"type": "sgd", "lr": 1000}},
        evaluation=REGRESSION["evaluation"],
    )
    recorder = stop_at(1)
    with pytest.raises(NonFiniteLoss, match="after step 1"):
        run(ask(spec, rows), recorder)
    assert recorder.checkpoints == []


# ---------------------------------------------------------------- from another job


def hand_over(source: Request, target: Request, *steps: int) -> Request:
    """What a retry gives to its job: the checkpoints of these steps, the newest to begin with."""
    place = target.folder.with_name(INHERITED)
    for step in steps:
        shutil.copytree(source.folder / f"s{step}", place / f"s{step}")
    return replace(target, resume=(place / f"s{max(steps)}",))


def read_model(request: Request, step: int) -> bytes:
    return (request.folder / f"s{step}" / "model.safetensors").read_bytes()


def run_to(ask: Ask, step: int | None) -> tuple[Request, Recorder]:
    request, recorder = ask(SPEC), Recorder() if step is None else stop_at(step)
    run(request, recorder)
    return request, recorder


@pytest.mark.parametrize("cut", [3, PER_EPOCH, 2 * PER_EPOCH + 1, 4 * PER_EPOCH])
def test_a_job_that_starts_from_anothers_checkpoint_ends_like_it(ask: Ask, cut: int) -> None:
    whole, expected = run_to(ask, None)
    total = 4 * PER_EPOCH
    source, saved = run_to(ask, cut if cut < total else None)
    steps = [checkpoint.step for checkpoint in saved.checkpoints]
    recorder, request = Recorder(), hand_over(source, ask(SPEC), *steps)

    result = run(request, recorder)

    assert recorder.of("resumed")[0]["checkpoint"] == f"{INHERITED}/s{cut}"
    assert read_model(request, total) == read_model(whole, total)
    later = [p for p in expected.points if p[1] > cut or p[0].startswith("test/")]
    assert sorted(recorder.points) == sorted(later)
    assert result.evaluation is not None
    (best,) = {
        c.step for c in recorder.checkpoints if c.step == result.evaluation["checkpoint_step"]
    }
    assert read_model(request, best) == read_model(whole, best)


def test_what_came_from_another_job_is_saved_again_at_once(ask: Ask) -> None:
    source, _ = run_to(ask, PER_EPOCH + 2)
    request = hand_over(source, ask(SPEC), PER_EPOCH, PER_EPOCH + 2)
    recorder = stop_at(0)

    assert run(request, recorder).saved

    assert [c.step for c in recorder.checkpoints] == [PER_EPOCH, PER_EPOCH + 2]
    shutil.rmtree(request.folder.with_name(INHERITED))
    last = Recorder()
    folder = request.folder.with_name("a2")
    folder.mkdir()
    newest = Path(request.folder / f"s{PER_EPOCH + 2}")
    run(replace(request, folder=folder, resume=(newest,)), last)
    assert "best checkpoint" not in last.warnings
