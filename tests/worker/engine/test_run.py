"""Whole runs: what is reported, in which order, and what is said about data that is not right."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.worker.conftest import (
    REGRESSION,
    Recorder,
    make_rows,
    make_spec,
    stop_at,
)
from worker.engine.errors import DataError, NonFiniteLoss, UserError
from worker.engine.reporter import SavedCheckpoint, Stop
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]


def run_job(request: Request) -> tuple[dict[str, Any], Recorder]:
    recorder = Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    json.dumps(evaluation, allow_nan=False)
    assert not list(request.folder.glob(".*"))
    return evaluation, recorder


def test_every_series_is_reported(ask: Ask) -> None:
    evaluation, recorder = run_job(ask())
    steps: dict[str, list[int]] = {}
    for name, step, value in recorder.points:
        assert math.isfinite(value)
        steps.setdefault(name, []).append(step)
    assert steps == {
        "train/loss": list(range(1, 19)),
        "train/lr": list(range(1, 19)),
        "validation/loss": [6, 12, 18],
        "validation/accuracy": [6, 12, 18],
        "test/loss": [18],
        "test/accuracy": [18],
    }
    assert recorder.of("phase") == ["preparing", "training", "evaluating", "exporting"]
    assert evaluation["rows"] == {"train": 42, "validation": 6, "test": 12}
    assert sum(map(sum, evaluation["confusion_matrix"])) == 12
    speeds = [p for points in recorder.of("metrics") for p in points if "samples" in p[0]]
    assert speeds


def test_progress_shows_after_the_first_step_and_at_the_end(ask: Ask) -> None:
    _, recorder = run_job(ask())
    progress = recorder.of("progress")
    assert progress[0][:2] == (1, 18)
    assert progress[-1][:3] == (18, 18, 3.0)


def test_a_checkpoint_is_reported_after_every_point_up_to_it(ask: Ask) -> None:
    spec = make_spec(training={"epochs": 400}, checkpoints={"every_seconds": 0.1})
    _, recorder = run_job(ask(spec))
    assert len(recorder.checkpoints) > 2
    latest = 0
    for kind, value in recorder.calls:
        if kind == "metrics":
            latest = max(step for _, step, _ in value)
        if kind == "checkpoint":
            assert latest >= value.step
    assert len({saved.step for saved in recorder.checkpoints}) == len(recorder.checkpoints)


def test_a_checkpoint_matches_what_is_reported_of_it(ask: Ask) -> None:
    request = ask()
    _, recorder = run_job(request)
    for saved in recorder.checkpoints:
        assert isinstance(saved, SavedCheckpoint)
        for name, facts in saved.files.items():
            path = request.folder.parent / saved.name / name
            assert path.stat().st_size == facts["size_bytes"]
        assert set(load_file(request.folder.parent / saved.name / "model.safetensors")) == {
            "weight",
            "bias",
        }
        assert saved.metrics.keys() == {"loss", "accuracy"}


def test_the_best_checkpoint_is_marked_and_evaluated(ask: Ask) -> None:
    parts = {**REGRESSION, "training": {"epochs": 6, "batch_size": 8, "loss": {"type": "mse"}}}
    parts["training"]["optimizer"] = {"type": "sgd", "lr": 0.6}
    evaluation, recorder = run_job(ask(make_spec(**parts), make_rows(classify=False)))
    (best,) = [saved for saved in recorder.checkpoints if saved.best]
    losses = {step: value for name, step, value in recorder.points if name == "validation/loss"}
    assert best.step == evaluation["checkpoint_step"] == min(losses, key=losses.__getitem__)
    assert evaluation["validation"]["loss"] == losses[best.step]
    assert max(saved.step for saved in recorder.checkpoints) == 36


def test_without_validation_rows_the_last_weights_count(ask: Ask) -> None:
    spec = make_spec(dataset={"split": {"validation": 0.0, "test": 0.2}})
    evaluation, recorder = run_job(ask(spec))
    assert evaluation["checkpoint_step"] == max(saved.step for saved in recorder.checkpoints)
    assert evaluation["validation"] == {}
    assert evaluation["monitor"] is None


def test_training_beats_the_baseline(ask: Ask) -> None:
    training = {"epochs": 40, "batch_size": 16, "optimizer": {"type": "adam", "lr": 0.05}}
    spec = make_spec(training={**training, "loss": {"type": "cross_entropy"}})
    evaluation, _ = run_job(ask(spec, make_rows(300)))
    assert evaluation["baseline"]["kind"] == "majority_class"
    assert evaluation["test"]["accuracy"] > 0.9 > evaluation["baseline"]["accuracy"] + 0.4


@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_saves_first(ask: Ask, stop: Stop) -> None:
    recorder = stop_at(7, stop)
    result = run(ask(), recorder)
    assert result.stopped is stop
    assert result.evaluation is None
    assert max(saved.step for saved in recorder.checkpoints) == 7


def test_windows_of_several_steps_become_their_mean(ask: Ask) -> None:
    training = {"epochs": 3, "batch_size": 8, "loss": {"type": "cross_entropy"}}
    _, fine = run_job(ask(make_spec(training={**training, "log_every": 1})))
    _, coarse = run_job(ask(make_spec(training={**training, "log_every": 5})))
    single = [value for name, _, value in fine.points if name == "train/loss"]
    means = {step: value for name, step, value in coarse.points if name == "train/loss"}
    assert list(means) == [5, 10, 15, 18]
    assert means[5] == pytest.approx(sum(single[:5]) / 5)
    assert means[18] == pytest.approx(sum(single[15:]) / 3)


def test_penalties_apply_to_weights_and_not_to_biases(ask: Ask) -> None:
    training = {"epochs": 60, "batch_size": 8, "l1": 10.0, "loss": {"type": "cross_entropy"}}
    training["optimizer"] = {"type": "sgd", "lr": 0.01}
    rows = make_rows(90)
    rows["y"] = ["c0"] * 80 + ["c1"] * 10
    request = ask(make_spec(training=training, checkpoints={"keep_best": 0}), rows)
    _, recorder = run_job(request)
    folder = request.folder.parent / recorder.checkpoints[-1].name
    weights = load_file(folder / "model.safetensors")
    assert weights["weight"].abs().max() < 0.2
    assert weights["bias"].abs().max() > 0.2


def test_bfloat16_trains_on_the_cpu_too(ask: Ask) -> None:
    training = {"epochs": 2, "precision": "bfloat16", "loss": {"type": "cross_entropy"}}
    evaluation, _ = run_job(ask(make_spec(model={"type": "mlp"}, training=training)))
    assert math.isfinite(evaluation["test"]["loss"])


def test_gradients_are_clipped(ask: Ask) -> None:
    rows = make_rows(classify=False)
    parts = {**REGRESSION, "training": {"epochs": 1, "clip_norm": 1e-9, "loss": {"type": "mse"}}}
    parts["training"]["optimizer"] = {"type": "sgd", "lr": 0.1}
    request = ask(make_spec(**parts), rows)
    _, recorder = run_job(request)
    folder = request.folder.parent / recorder.checkpoints[-1].name
    assert load_file(folder / "model.safetensors")["weight"].abs().max() < 1e-8


# ---------------------------------------------------------------- data that is not right


def test_a_test_dataset_is_measured_instead_of_a_part(ask: Ask) -> None:
    spec = make_spec(dataset={"split": {}, "test_id": "ds_" + "1" * 32})
    evaluation, _ = run_job(ask(spec, make_rows(60), make_rows(25, seed=1)))
    assert evaluation["rows"] == {"train": 54, "validation": 6, "test": 25}


def test_features_know_nothing_of_other_rows(ask: Ask) -> None:
    spec = make_spec(dataset={"split": {"validation": 0.0}, "test_id": "ds_" + "1" * 32})
    wild = make_rows(10)
    wild["a"] = [1e6] * 10
    wild["kind"] = ["new"] * 9 + ["x"]
    calm, other = ask(spec, test=make_rows(10)), ask(spec, test=wild)
    run_job(calm)
    _, recorder = run_job(other)
    states = {(request.folder / "bundle/features.json").read_text() for request in (calm, other)}
    assert len(states) == 1
    assert "Column 'kind': 9 of 10 test rows hold a category" in recorder.warnings


def test_a_word_in_a_number_column_of_the_test_dataset_is_named(ask: Ask) -> None:
    spec = make_spec(dataset={"split": {}, "test_id": "ds_" + "1" * 32})
    test = make_rows(10)
    test["b"] = ["1.5"] * 6 + ["oops"] + ["2"] * 3
    with pytest.raises(DataError, match=r"'b', row 7: 'oops' is not a number"):
        run(ask(spec, test=test), Recorder())


def test_a_column_absent_from_the_test_dataset_is_named(ask: Ask) -> None:
    spec = make_spec(dataset={"split": {}, "test_id": "ds_" + "1" * 32})
    test = make_rows(10)
    del test["b"]
    with pytest.raises(DataError, match="no column 'b'"):
        run(ask(spec, test=test), Recorder())


def test_a_class_unseen_in_training_counts_as_wrong_and_is_told(ask: Ask) -> None:
    spec = make_spec(dataset={"split": {}, "test_id": "ds_" + "1" * 32})
    test = make_rows(10)
    test["y"] = ["never"] * 10
    test["y"][0] = make_rows(10)["y"][0]
    evaluation, recorder = run_job(ask(spec, test=test))
    assert evaluation["test"]["accuracy"] <= 0.1
    assert "9 of 10 test rows have a 'y' that the training rows do not" in recorder.warnings


def test_rows_of_which_none_has_a_known_class_cannot_be_measured(ask: Ask) -> None:
    rows = make_rows()
    rows["y"][48:] = ["never"] * 12
    rows["day"] = [float(number) for number in range(60)]
    split = {"by": "time", "column": "day", "validation": 0.0}
    with pytest.raises(DataError, match="None of the 12 test rows has a 'y'"):
        run(ask(make_spec(dataset={"split": split | {"test": 0.2}}), rows), Recorder())


def test_constant_columns_are_told(ask: Ask) -> None:
    rows = make_rows()
    rows["b"] = [7.0] * 60
    rows["c"] = [None] * 60
    evaluation, recorder = run_job(ask(rows=rows))
    assert recorder.warnings == "Constant in the training rows, so set to 0: 'b', 'c'."
    assert evaluation["warnings"] == [recorder.warnings]


def test_missing_values_are_filled(ask: Ask) -> None:
    rows = make_rows()
    rows["a"][::7] = [None] * 9
    rows["kind"][::5] = [None] * 12
    evaluation, _ = run_job(ask(rows=rows))
    assert evaluation["rows"]["train"] == 42


def test_missing_targets_are_an_error_or_dropped(ask: Ask) -> None:
    rows = make_rows()
    rows["y"][4] = rows["y"][9] = None
    with pytest.raises(DataError, match=r"'y' is missing in 2 rows .* first in row 5") as caught:
        run(ask(rows=rows), Recorder())
    assert "missing_target" in caught.value.hint
    split = {"split": {"test": 0.2}, "missing_target": "drop"}
    evaluation, recorder = run_job(ask(make_spec(dataset=split), rows))
    assert sum(evaluation["rows"].values()) == 58
    assert "2 rows" in recorder.warnings


def test_one_class_is_an_error_that_names_the_target(ask: Ask) -> None:
    rows = make_rows()
    rows["y"] = ["same"] * 60
    with pytest.raises(DataError, match="one class of 'y': 'same'"):
        run(ask(rows=rows), Recorder())


def test_three_rows_train_or_say_what_is_missing(ask: Ask) -> None:
    rows = {name: cells[:3] for name, cells in make_rows(classify=False).items()}
    with pytest.raises(DataError, match="3 rows leave 1 for training") as caught:
        run(ask(make_spec(**REGRESSION), rows), Recorder())
    assert "dataset.split.validation" in caught.value.hint
    alone = make_spec(**REGRESSION, dataset={"split": {"validation": 0.0, "test": 0.0}})
    evaluation, _ = run_job(ask(alone, rows))
    assert evaluation["rows"]["train"] == 3


def test_a_constant_target_is_predicted_and_told(ask: Ask) -> None:
    rows = make_rows(classify=False)
    rows["y"] = [5.0] * 60
    evaluation, recorder = run_job(ask(make_spec(**REGRESSION), rows))
    assert "'y' is constant" in recorder.warnings
    assert "test/r2 is undefined" in recorder.warnings
    assert "r2" not in evaluation["test"]
    assert evaluation["test"]["loss"] < 1


def test_a_target_that_is_no_number_is_refused_for_regression(ask: Ask) -> None:
    with pytest.raises(DataError, match="'y' does not hold numbers"):
        run(ask(make_spec(**REGRESSION), make_rows()), Recorder())


def test_numbers_too_large_for_the_model_are_named(ask: Ask) -> None:
    rows = make_rows()
    rows["c"][0] = 1e300
    dataset = {"scale": "none", "split": {"test": 0.2}}
    with pytest.raises(DataError, match="'c' holds numbers too large"):
        run(ask(make_spec(dataset=dataset), rows), Recorder())


def test_too_many_categories_are_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.data.prepare.MAX_WIDTH", 5)
    with pytest.raises(DataError, match=r"6 numbers per row, 3 of them from column 'kind'"):
        run(ask(), Recorder())


def test_a_diverging_run_names_the_step_and_reports_no_nan(ask: Ask) -> None:
    parts = {**REGRESSION, "training": {"epochs": 50, "loss": {"type": "mse"}}}
    parts["training"]["optimizer"] = {"type": "sgd", "lr": 1000.0}
    recorder = Recorder()
    with pytest.raises(NonFiniteLoss, match="at step") as caught:
        run(ask(make_spec(**parts), make_rows(classify=False)), recorder)
    assert "lr" in caught.value.hint
    assert all(math.isfinite(value) for _, _, value in recorder.points)


def test_cuda_is_refused_where_there_is_none(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="cuda"):
        run(ask(make_spec(resources={"device": "cuda"})), Recorder())


# ---------------------------------------------------------------- a full disk


def fill_disk(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Path], bool]) -> None:
    """Syncing a file that `fails` names reports a full disk."""
    sync = os.fsync

    def refuse(handle: int) -> None:
        if fails(Path(os.readlink(f"/proc/self/fd/{handle}"))):
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", refuse)


def test_training_goes_on_when_a_checkpoint_cannot_be_written(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = iter([True])
    fill_disk(
        monkeypatch, lambda path: "tmp" in path.suffix + path.parent.suffix and next(full, False)
    )
    spec = make_spec(training={"epochs": 400}, checkpoints={"every_seconds": 0.1})
    request = ask(spec)
    monkeypatch.setattr("worker.engine.run.write_bundle", lambda *_: None)
    _, recorder = run_job(request)
    assert "could not be written: No space left on device" in recorder.warnings
    assert recorder.checkpoints


def test_a_run_fails_when_its_last_checkpoint_cannot_be_written(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask()
    fill_disk(monkeypatch, lambda path: path.name == "state.safetensors")
    recorder = Recorder()
    with pytest.raises(OSError, match="No space left"):
        run(request, recorder)
    assert recorder.checkpoints == []
    assert [path.name for path in request.folder.iterdir()] == ["bundle"]
