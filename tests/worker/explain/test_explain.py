"""Explanations of whole runs: the files, what the evaluation says of them, and stops meanwhile."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from app.specs import JobSpec
from app.specs.models import Task
from tests.worker.conftest import (
    READERS,
    REGRESSION,
    Recorder,
    make_image_rows,
    make_rows,
    make_spec,
    make_text_rows,
    next_attempt,
    stop_at,
)
from tests.worker.engine import test_several_targets as several
from worker import registry
from worker.engine.reporter import Stop
from worker.engine.request import Request
from worker.engine.run import run
from worker.engine.writer import CheckpointWriter

Ask = Callable[..., Request]
METHOD = {"type": "integrated_gradients", "rows": 5, "steps": 20}
ASKED = {"explanations": [METHOD]}
STEPS = 18  # of training


def read_files(request: Request) -> dict[str, bytes]:
    folder = request.folder / "explanations"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def read_document(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(read_files(request)["integrated_gradients.json"])
    return document


def make_job(family: str) -> tuple[JobSpec, Any]:
    evaluation = {"metrics": ["r2" if family == "linear" else "accuracy"], **ASKED}
    spec = make_spec(
        model={"type": family},
        training={"epochs": 3, "loss": {"type": "mse" if family == "linear" else "cross_entropy"}},
        evaluation=evaluation,
    )
    return spec, make_text_rows() if family in READERS else make_rows(classify=family != "linear")


@pytest.mark.parametrize("family", registry.list_variants("models"))
def test_every_family_is_explained_the_same_every_time(ask: Ask, family: str) -> None:
    spec, rows = make_job(family)
    requests = [ask(spec, rows) for _ in range(2)]
    first, second = (run(request, Recorder()).evaluation for request in requests)
    assert first == second
    assert first is not None
    files = read_files(requests[0])
    assert files == read_files(requests[1])
    (listed,) = first["explanations"]
    assert listed["files"] == [
        {
            "name": name,
            "media_type": "application/json",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
        }
        for name, content in files.items()
    ]
    document = read_document(requests[0])
    assert len(document["rows"]) == document["explained_rows"] == 5
    assert listed["part"] == "test"
    for row in document["rows"]:
        assert abs(row["delta"]) < 0.2 * max(1, abs(row["output"] - row["empty_output"]))
        places = row.get("columns") or row["tokens"]
        total = sum(each["attribution"] for each in places)
        assert total == pytest.approx(row["output"] - row["empty_output"] + row["delta"], abs=1e-3)


def test_the_columns_that_make_the_target_carry_it(ask: Ask) -> None:
    """y is a - 2b + 3 * kind; c says nothing."""
    parts: dict[str, Any] = {**REGRESSION, "evaluation": {"metrics": ["r2"], **ASKED}}
    adam = {"type": "adam", "lr": 0.05}
    parts["training"] = {"epochs": 60, "optimizer": adam, "loss": {"type": "mse"}}
    request = ask(make_spec(**parts), make_rows(200, classify=False))
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    (explanation,) = evaluation["explanations"]
    sizes = {each["column"]: each["mean_absolute"] for each in explanation["columns"]}
    assert sizes["c"] < 0.1 * sizes["a"] < sizes["b"]
    assert explanation["largest_delta"] < 1e-3
    for row in read_document(request)["rows"]:
        assert row["predicted"] == pytest.approx(row["true"], abs=2)
        (b,) = [each for each in row["columns"] if each["column"] == "b"]
        assert b["attribution"] == pytest.approx(-2 * (b["value"] - 20), abs=3)


@pytest.mark.parametrize("kind", ["tf_idf", "bag_of_words"])
def test_the_terms_of_a_text_that_decide_are_found(ask: Ask, kind: str) -> None:
    spec = make_spec(
        dataset={"inputs": ["text", "a"], "text": {"type": kind, "columns": ["text"]}},
        training={"epochs": 20, "optimizer": {"type": "adam", "lr": 0.1}},
        evaluation={"metrics": ["accuracy"], "explanations": [{**METHOD, "rows": 12}]},
    )
    request = ask(spec, make_text_rows())
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    terms = evaluation["explanations"][0]["terms"]
    assert {each["term"] for each in terms[:3]} == {"good", "bad", "ugly"}
    for row in read_document(request)["rows"]:
        (text,) = [each for each in row["columns"] if each["column"] == "text"]
        assert text["terms"][0]["term"] == {"c0": "good", "c1": "bad", "c2": "ugly"}[row["true"]]
        assert text["terms"][0]["attribution"] > 0


@pytest.mark.parametrize(("family", "task"), [("mlp", "regression"), ("rnn", "classification")])
def test_of_several_targets_each_is_explained(ask: Ask, family: str, task: Task) -> None:
    spec, rows = several.make_job(family, task, training={"epochs": 6}, evaluation=ASKED)
    request = ask(spec, rows)
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    (explanation,) = evaluation["explanations"]
    assert explanation["explained_rows"] == 5
    document, names = read_document(request), spec.dataset.targets
    assert [row["target"] for row in document["rows"]] == names * 5
    entries = explanation.get("columns") or explanation["tokens"]
    assert list(dict.fromkeys(each["target"] for each in entries)) == names
    for row in document["rows"]:
        spread = {"small": 0.05, "large": 5e6}.get(row["target"], 2)
        assert abs(row["delta"]) < 0.1 * spread


@pytest.mark.parametrize("family", ["cnn", "mlp"])
def test_what_tells_a_picture_from_others_is_red_in_its_heat_map(ask: Ask, family: str) -> None:
    spec = make_spec(
        model={"type": family},
        dataset={"image": {"height": 9, "width": 8, "channels": 1}},
        training={"epochs": 20, "optimizer": {"type": "adam", "lr": 0.02}},
        evaluation={"metrics": ["accuracy"], **ASKED},
    )
    request = ask(spec, make_image_rows())
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    assert evaluation["test"]["accuracy"] == 1
    listed = {each["name"]: each for each in evaluation["explanations"][0]["files"]}
    assert {name: each["size_bytes"] for name, each in listed.items()} == {
        name: len(content) for name, content in read_files(request).items()
    }
    for row in read_document(request)["rows"]:
        assert listed[row["picture"]]["media_type"] == "image/png"
        content = read_files(request)[row["picture"]]
        heat = np.asarray(Image.open(io.BytesIO(content))).astype(int)[:, -8 * 24 :]
        speaks = (heat[:, :, 0] - heat[:, :, 2]).reshape(3, -1).mean(1)  # of each third
        assert speaks.argmax() == int(row["true"][1])


def test_without_test_rows_validation_rows_are_explained(ask: Ask) -> None:
    split = {"validation": 0.2, "test": 0.0}
    spec = make_spec(dataset={"split": split}, evaluation={"metrics": ["accuracy"], **ASKED})
    evaluation = run(ask(spec), Recorder()).evaluation
    assert evaluation is not None
    assert evaluation["explanations"][0]["part"] == "validation"


def test_rows_without_finite_gradients_are_left_out(ask: Ask) -> None:
    request = ask(make_job("logistic")[0])
    broken = torch.full((1, 6), torch.nan)

    def attribute(*_: Any) -> Any:
        return broken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build_attribution", lambda _: attribute)
        recorder = Recorder()
        evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    assert evaluation["explanations"][0]["explained_rows"] == 0
    assert evaluation["explanations"][0]["largest_delta"] is None
    assert "is not explained" in recorder.warnings


# ---------------------------------------------------------------- stops and resumes


def list_stopping_jobs() -> list[Any]:
    return [
        pytest.param(ASKED, {"ema_decay": 0.9}, id="explanations"),
        pytest.param({"importance": "permutation"}, {}, id="importance"),
    ]


@pytest.mark.parametrize(("asked", "training"), list_stopping_jobs())
@pytest.mark.parametrize("stop", list(Stop))
def test_a_stop_is_heeded_while_explaining_and_leaves_no_trace(
    ask: Ask, asked: dict[str, Any], training: dict[str, Any], stop: Stop
) -> None:
    full = {"epochs": 3, "batch_size": 8, "loss": {"type": "cross_entropy"}, **training}
    spec = make_spec(evaluation={"metrics": ["accuracy"], **asked}, training=full)
    whole, cut = ask(spec), ask(spec)
    calm = Recorder()
    expected = run(whole, calm).evaluation

    first = stop_at(STEPS + 2, stop)
    result = run(cut, first)
    assert (result.stopped, result.saved, result.evaluation) == (stop, True, None)
    assert not (cut.folder / "explanations").exists()
    newest = max(first.checkpoints, key=lambda saved: saved.step)
    assert newest.step == STEPS

    again, second = next_attempt(cut, cut.folder.parent / newest.name), Recorder()
    assert run(again, second).evaluation == expected
    assert sorted(first.points + second.points) == sorted(calm.points)
    if "explanations" in asked:
        assert read_files(again) == read_files(whole)
    weights = [
        request.folder.joinpath(f"s{STEPS}", "model.safetensors") for request in (whole, cut)
    ]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_pause_that_cannot_save_is_refused_while_explaining(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    writes = CheckpointWriter._write
    monkeypatch.setattr(CheckpointWriter, "_write", fail)
    recorder = Recorder()

    def ask_to_pause(each: Recorder) -> Stop | None:
        return Stop.PAUSE if each.reads > STEPS + 2 and not each.of("refused") else None

    def refuse(reason: str) -> None:
        recorder.calls.append(("refused", reason))
        monkeypatch.setattr(CheckpointWriter, "_write", writes)

    recorder.stop_when = ask_to_pause
    monkeypatch.setattr(recorder, "refuse", refuse)
    request = ask(make_job("logistic")[0])
    result = run(request, recorder)
    assert recorder.of("refused") == ["No space left on device"]
    assert result.stopped is None
    assert [name for name, _, _ in recorder.points].count("test/loss") == 1
    assert read_files(request)


def finish(ask: Ask) -> tuple[Request, Request, Any]:
    """A run that has ended, and one that takes over its evaluation."""
    request, recorder = ask(make_job("logistic")[0]), Recorder()
    evaluation = run(request, recorder).evaluation
    newest = max(recorder.checkpoints, key=lambda saved: saved.step)
    return request, next_attempt(request, request.folder.parent / newest.name), evaluation


def test_an_attempt_that_takes_over_an_evaluation_gets_its_files(ask: Ask) -> None:
    request, attempt, expected = finish(ask)
    recorder = Recorder()
    assert run(attempt, recorder).evaluation == expected
    assert recorder.of("phase") == ["preparing"]
    assert read_files(attempt) == read_files(request)


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_files_that_are_gone_or_damaged_are_made_again(ask: Ask, harm: Any) -> None:
    request, attempt, expected = finish(ask)
    before = read_files(request)
    harm(request.folder / "explanations" / "integrated_gradients.json")
    assert run(attempt, Recorder()).evaluation == expected
    assert read_files(attempt) == before
