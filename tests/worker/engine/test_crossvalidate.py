"""Cross-validation: its figures beside hand-written loops, and that nothing can disturb them."""

import json
import math
import shutil
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

from tests.worker.conftest import (
    REGRESSION,
    Recorder,
    make_image_rows,
    make_rows,
    make_sequence_rows,
    make_spec,
    make_text_rows,
    next_attempt,
    stop_at,
)
from tests.worker.engine.test_folds import divide
from worker.engine import crossvalidate
from worker.engine.errors import NonFiniteLoss
from worker.engine.reporter import Stop
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]
STEPS = 3 * 6  # of the job's own model: 42 training rows in batches of 8
TF_IDF = {"type": "tf_idf", "columns": ["text"]}
FOLDS: dict[str, Any] = {"metrics": ["accuracy"], "cross_validation": {"folds": 3}}


def make_job(ask: Ask, **parts: Any) -> Request:
    parts = {"model": {"type": "mlp", "dropout": 0.3}, "evaluation": FOLDS} | parts
    return ask(make_spec(**parts))


def run_whole(request: Request) -> tuple[dict[str, Any], Recorder]:
    recorder = Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    return evaluation, recorder


def read_weights(request: Request) -> bytes:
    return (request.folder / f"s{STEPS}" / "model.safetensors").read_bytes()


# ---------------------------------------------------------------- figures


def test_a_linear_regression_scores_as_a_loop_by_hand(ask: Ask) -> None:
    rows = make_rows(120, classify=False)
    rows["y"] = [y + 3 * math.sin(7 * i) for i, y in enumerate(rows["y"])]
    optimizer = {"type": "sgd", "lr": 0.1}
    spec = make_spec(
        **REGRESSION
        | {
            "dataset": {"inputs": ["a", "b", "c"], "split": {"validation": 0.0, "test": 0.2}},
            "training": {
                "loss": {"type": "mse"},
                "epochs": 100,
                "batch_size": 128,
                "optimizer": optimizer,
            },
            "evaluation": {"metrics": ["r2"], "cross_validation": {"folds": 5, "seed": 4}},
        }
    )
    request = ask(spec, rows)
    evaluation, _ = run_whole(request)
    table = [[rows[name][i] for name in "abc"] for i in range(120)]
    expected = []
    for fold in divide(request)[1]:
        train, held = fold.train.tolist(), fold.test.tolist()
        scaler = StandardScaler().fit([table[i] for i in train])
        model = LinearRegression().fit(
            scaler.transform([table[i] for i in train]), [rows["y"][i] for i in train]
        )
        answers = model.predict(scaler.transform([table[i] for i in held]))
        expected.append(r2_score([rows["y"][i] for i in held], answers))
    found = evaluation["cross_validation"]
    assert [each["scores"]["r2"] for each in found["folds"]] == pytest.approx(expected, abs=1e-4)
    assert found["mean"]["r2"] == pytest.approx(sum(expected) / 5, abs=1e-4)
    deviation = math.sqrt(sum((r2 - sum(expected) / 5) ** 2 for r2 in expected) / 5)
    assert found["std"]["r2"] == pytest.approx(deviation, abs=1e-4)


def test_a_fold_is_a_job_on_the_rows_of_that_fold(ask: Ask) -> None:
    """The second fold as a job of its own, its rows divided by a column."""
    request = make_job(ask, training={"early_stopping": {"patience": 1}, "epochs": 9})
    found = run_whole(request)[0]["cross_validation"]["folds"][1]
    _, folds = divide(request)
    rows = make_rows()
    places = {"train": folds[1].train, "validation": folds[1].validation, "test": folds[1].test}
    part_of = {row: part for part, numbers in places.items() for row in numbers.tolist()}
    kept = sorted(part_of)
    alone = {name: [cells[row] for row in kept] for name, cells in rows.items()}
    alone["part"] = [part_of[row] for row in kept]
    spec = make_spec(
        model={"type": "mlp", "dropout": 0.3},
        dataset={"split": {"by": "column", "column": "part"}},
        training={"early_stopping": {"patience": 1}, "epochs": 9},
    )
    evaluation, _ = run_whole(ask(spec, alone))
    assert evaluation["test"] == found["scores"]
    assert evaluation["rows"] == {"train": 28, "validation": 4, "test": 16}
    assert found["rows"] == {"train": 28, "validation": 4, "held_out": 16}


INPUTS: dict[str, tuple[dict[str, Any], Any]] = {
    "terms": ({"dataset": {"inputs": ["text"], "text": TF_IDF}}, make_text_rows),
    "tokens, cnn": ({"model": {"type": "cnn"}}, make_text_rows),
    "tokens, rnn": ({"model": {"type": "rnn"}}, make_text_rows),
    "sequences": (
        {"model": {"type": "rnn", "over": "sequence"}, "dataset": {"inputs": ["steps"]}},
        make_sequence_rows,
    ),
    "images": ({"model": {"type": "cnn", "over": "image"}}, make_image_rows),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_every_kind_of_input_has_folds(ask: Ask, kind: str) -> None:
    parts, make = INPUTS[kind]
    request = ask(make_spec(**parts, evaluation=FOLDS), make())
    found = run_whole(request)[0]["cross_validation"]
    assert [each["error"] for each in found["folds"]] == [None] * 3
    assert found["mean"].keys() == {"loss", "accuracy"}


def test_several_targets_have_folds(ask: Ask) -> None:
    rows = make_rows()
    rows["z"] = ["no" if label == "c0" else "yes" for label in rows["y"]]
    rows["y"] = ["no" if label == "c2" else "yes" for label in rows["y"]]
    loss = {"type": "binary_cross_entropy"}
    spec = make_spec(dataset={"target": ["y", "z"]}, training={"loss": loss}, evaluation=FOLDS)
    found = run_whole(ask(spec, rows))[0]["cross_validation"]
    assert [each["error"] for each in found["folds"]] == [None] * 3


def test_a_test_dataset_is_no_part_of_any_fold(ask: Ask) -> None:
    dataset = {"test_id": "ds_" + "1" * 32, "split": {"test": 0.0}}
    request = ask(make_spec(dataset=dataset, evaluation=FOLDS), test=make_rows(10, seed=1))
    folds = run_whole(request)[0]["cross_validation"]["folds"]
    assert [each["rows"]["held_out"] for each in folds] == [20] * 3


def test_a_score_that_is_undefined_in_a_fold_is_left_out_there(ask: Ask) -> None:
    rows = make_rows()
    rows["y"] = ["no" if label == "c0" else "yes" for label in rows["y"]]
    rows["site"] = [
        f"s{i % 3 if label == 'no' else 1 + i % 2}" for i, label in enumerate(rows["y"])
    ]
    folds = {"folds": 3, "by": "group", "column": "site"}
    spec = make_spec(
        dataset={"inputs": ["a"], "split": {"validation": 0.0, "test": 0.0}},
        evaluation={"metrics": ["roc_auc"], "cross_validation": folds},
    )
    found = run_whole(ask(spec, rows))[0]["cross_validation"]
    (without,) = [each for each in found["folds"] if "roc_auc" not in each["scores"]]
    assert "fold/roc_auc is undefined" in without["warnings"][-1]
    values = [each["scores"]["roc_auc"] for each in found["folds"] if each is not without]
    assert found["mean"]["roc_auc"] == pytest.approx(sum(values) / 2)


def test_a_fold_that_diverges_says_so_and_the_job_goes_on(ask: Ask, monkeypatch: Any) -> None:
    real, numbers = crossvalidate.train_fold, count(1)

    def diverge_once(*arguments: Any) -> Any:
        if next(numbers) == 2:
            raise NonFiniteLoss("The training loss became nan at step 7.")
        return real(*arguments)

    monkeypatch.setattr(crossvalidate, "train_fold", diverge_once)
    evaluation, recorder = run_whole(make_job(ask))
    found = evaluation["cross_validation"]
    assert [each["error"] is None for each in found["folds"]] == [True, False, True]
    assert found["mean"]["accuracy"] == pytest.approx(
        (found["folds"][0]["scores"]["accuracy"] + found["folds"][2]["scores"]["accuracy"]) / 2
    )
    warning = "Fold 2 could not be measured: The training loss became nan at step 7."
    assert evaluation["warnings"][-1] == warning
    assert [step for name, step, _ in recorder.points if name == "fold/loss"] == [1, 3]


# ---------------------------------------------------------------- what is reported


def test_folds_are_reported_as_points_and_events_after_the_model_is_saved(ask: Ask) -> None:
    evaluation, recorder = run_whole(make_job(ask))
    folds = evaluation["cross_validation"]["folds"]
    points = {(name, step): value for name, step, value in recorder.points}
    for each in folds:
        for name, value in each["scores"].items():
            assert points[f"fold/{name}", each["fold"]] == value
    events = [{"fold": e["fold"], "folds": 3, "scores": e["scores"]} for e in folds]
    assert recorder.of("fold") == events
    kinds = [kind for kind, _ in recorder.calls]
    assert kinds.index("fold") > len(kinds) - 1 - kinds[::-1].index("checkpoint")
    assert recorder.of("phase") == ["preparing", "training", "evaluating", "exporting"]


def test_progress_stands_at_the_end_and_tells_the_time_left(ask: Ask) -> None:
    _, recorder = run_whole(make_job(ask))
    places = [step for step, _, _, _ in recorder.of("progress")]
    assert places == sorted(places)
    begun = [kind for kind, _ in recorder.calls].index("fold")
    later = [value for kind, value in recorder.calls[begun:] if kind == "progress"]
    assert later
    assert all(place[:3] == (STEPS, STEPS, 3.0) and place[3] >= 0 for place in later)


def test_folds_change_nothing_else(ask: Ask) -> None:
    plain, folded = make_job(ask, evaluation={"metrics": ["accuracy"]}), make_job(ask)
    expected, before = run_whole(plain)
    evaluation, after = run_whole(folded)
    assert read_weights(plain) == read_weights(folded)
    assert evaluation | {"cross_validation": None} == expected
    assert [point for point in after.points if not point[0].startswith("fold/")] == before.points


# ---------------------------------------------------------------- interruptions


def stop_in_folds(reads: int, stop: Stop = Stop.PAUSE) -> Recorder:
    """Asks to stop once training is over and `reads` more looks were taken."""
    seen = count()

    def decide(recorder: Recorder) -> Stop | None:
        trained = any(saved.step == STEPS for saved in recorder.checkpoints)
        return stop if trained and next(seen) >= reads else None

    return Recorder(decide)


@pytest.mark.parametrize("reads", [0, 1, 13, 20, 38])
def test_folds_that_were_interrupted_give_the_same_evaluation(ask: Ask, reads: int) -> None:
    expected, _ = run_whole(make_job(ask))
    request = make_job(ask)
    first = stop_in_folds(reads)
    result = run(request, first)
    assert (result.stopped, result.saved, result.evaluation) == (Stop.PAUSE, True, None)
    attempt = next_attempt(request, request.folder / f"s{STEPS}")
    evaluation, recorder = run_whole(attempt)
    assert json.dumps(evaluation) == json.dumps(expected)
    assert [event["fold"] for event in recorder.of("fold")] == [1, 2, 3]
    assert [kind for kind, _ in recorder.calls].count("checkpoint") == 0
    assert recorder.of("phase") == ["preparing", "evaluating", "exporting"]
    kept = {event["fold"] for event in first.of("fold")}
    assert {int(path.name[4:]) for path in attempt.folder.glob("fold*")} == {1, 2, 3} - kept


@pytest.mark.parametrize("stop", list(Stop))
def test_every_stop_is_obeyed_within_a_fold(ask: Ask, stop: Stop) -> None:
    recorder = stop_in_folds(5, stop)
    assert run(make_job(ask), recorder).stopped is stop
    assert recorder.of("refused") == []
    assert recorder.of("fold") == []


def test_a_damaged_fold_is_measured_again(ask: Ask) -> None:
    request = make_job(ask)
    expected, _ = run_whole(request)
    path = request.folder / "fold2" / "fold.json"
    path.write_text(path.read_text().replace("1", "2"))
    (request.folder / "fold3" / "SHA256SUMS").unlink()
    attempt = next_attempt(request, request.folder / f"s{STEPS}")
    evaluation, _ = run_whole(attempt)
    assert json.dumps(evaluation) == json.dumps(expected)
    assert sorted(path.name for path in attempt.folder.glob("fold*")) == ["fold2", "fold3"]


def test_a_run_that_was_cut_in_training_and_in_a_fold_equals_a_whole_one(ask: Ask) -> None:
    expected, _ = run_whole(make_job(ask))
    request = make_job(ask)
    assert run(request, stop_at(7)).stopped is Stop.PAUSE
    second = next_attempt(request, request.folder / "s7")
    assert run(second, stop_in_folds(25)).stopped is Stop.PAUSE
    shutil.rmtree(request.folder / "s7")
    evaluation, _ = run_whole(next_attempt(second, second.folder / f"s{STEPS}"))
    assert json.dumps(evaluation) == json.dumps(expected)
