"""Sequences as inputs: read, scaled, filled up, learned from, exactly resumed, predicted apart."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from app.specs.models import CNNSpec, RNNSpec
from tests.worker.conftest import (
    REGRESSION,
    Recorder,
    make_sequence_rows,
    make_spec,
    next_attempt,
    stop_at,
)
from tests.worker.engine.test_bundle import call_apart, predict_apart, unpack
from worker import registry
from worker.data.cells import CellError
from worker.data.features import Features
from worker.data.sequence import SequenceInput, Sequences, fit_sequence, join_rows
from worker.data.table import read_columns, take_rows
from worker.data.targets import fit_classes
from worker.engine.errors import DataError
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]


def make_sequences(*lengths: int, width: int = 3, seed: int = 0) -> Sequences:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(n, width, generator=generator, dtype=torch.float64) for n in lengths]
    return join_rows(rows)


# ---------------------------------------------------------------- the column


def test_rows_are_filled_up_to_the_longest_of_a_batch() -> None:
    rows = make_sequences(2, 5, 1, 4)
    padded = rows.pad()
    assert padded.shape == (4, 5, 3)
    assert (~padded.isnan()).all(2).sum(1).tolist() == [2, 5, 1, 4]
    assert torch.equal(padded[3, :4], rows.steps[8:])
    assert [part.shape[1] for part in rows.split(2)] == [5, 4]
    taken = rows.index_select(0, torch.tensor([3, 0]))
    assert torch.equal(next(iter(taken.split(2))).nan_to_num(), padded[[3, 0], :4].nan_to_num())


def test_long_rows_are_cut_and_steps_that_no_row_has_left_out() -> None:
    rows = make_sequences(2, 5, 1)
    whole = rows.pad()
    for keep, kept in (("last", whole[1, 3:]), ("first", whole[1, :2])):
        short = rows.shorten(2, keep).compact()
        assert len(short.steps) == 5
        assert torch.equal(short.pad()[1], kept)
        assert torch.equal(short.pad()[0], whole[0, :2])


def test_scaling_is_that_of_the_training_steps(ask: Ask) -> None:
    rows = make_sequences(2, 5, 4)
    rows.steps[:, 1] = rows.steps[:, 1] * 1e6 - 5e8
    rows.steps[:, 2] = 7.0
    fitted = fit_sequence("s", rows.take(torch.tensor([1, 2])), None, "last", "standard")
    seen = rows.steps[2:]
    expected = (rows.steps - seen.mean(0)) / seen.std(0, correction=0)
    encoded = fitted.encode(rows)
    torch.testing.assert_close(encoded[0, :2, :2], expected[:2, :2].float())
    assert (encoded[1, :, 2] == 0).all()
    plain = fit_sequence("s", rows, None, "last", "none")
    torch.testing.assert_close(plain.encode(rows)[1, :, :2], rows.steps[2:7, :2].float())


def test_a_column_survives_json_and_reads_what_rows_bring() -> None:
    fitted = fit_sequence("s", make_sequences(2, 3, width=2), 4, "first", "standard")
    features = Features([fitted], fit_classes("y", ["a", "b"]))
    assert Features.from_json(json.loads(json.dumps(features.to_json()))) == features
    cells = [[[1, 2], [3, 4.5]], "[[1, 2], [3, 4.5]]", torch.tensor([[1, 2], [3, 4.5]])]
    encoded = fitted.encode(fitted.read(cells))
    assert torch.equal(encoded[0], encoded[1])
    assert torch.equal(encoded[0], encoded[2])
    single = SequenceInput("s", None, "last", (0.0,), (1.0,))
    assert single.encode(single.read([[1, 2, 3]])).tolist() == [[[1.0], [2.0], [3.0]]]
    assert single.encode(single.read([single.example])).shape == (1, 2, 1)


@pytest.mark.parametrize(
    ("cell", "part"),
    [
        (None, "is missing"),
        ("", "is missing"),
        ("abc", "no list of numbers"),
        ([[1, 2], [3]], "no list of numbers"),
        ([1, None], "no list of numbers"),
        ([], "shape"),
        (5, "shape"),
        ([1, 2], "steps of 1 numbers, not of 2"),
        ([[1, float("nan")]], "NaN or infinity"),
    ],
)
def test_a_cell_that_holds_no_sequence_is_named(cell: Any, part: str) -> None:
    column = SequenceInput("s", None, "last", (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(CellError, match=rf"column 's', row 2: .*{part}"):
        column.read([[[1, 2]], cell])


def test_sequences_are_read_from_a_table_in_order(ask: Ask) -> None:
    rows = make_sequence_rows(20)
    rows["steps"][3] = None
    path = ask(rows=rows).dataset.path
    columns = read_columns(path, {"steps": "sequence", "y": "category"}, 1)
    steps = columns["steps"]
    assert isinstance(steps, Sequences)
    assert steps.find_missing() == [3]
    for number in (0, 8, 19):
        assert (
            next(iter(steps.take(torch.tensor([number])).split(1)))[0].tolist()
            == (rows["steps"][number])
        )
    assert len(take_rows(columns, torch.tensor([5, 1]))["steps"]) == 2


# ---------------------------------------------------------------- the models

READERS: list[Any] = [
    *(
        RNNSpec(over="sequence", cell=cell, hidden=5, layers=2, bidirectional=both, pool=pool)
        for cell, both, pool in (
            ("rnn", False, "last"),
            ("lstm", True, "last"),
            ("gru", True, "max"),
            ("gru", False, "average"),
        )
    ),
    CNNSpec(over="sequence", channels=[4, 6], kernels=[3, 5], norm="batch", gather="average"),
    CNNSpec(over="sequence", channels=[4, 4], pool="max", residual=True, gather="max"),
    CNNSpec(over="sequence", channels=[4, 4], pool="average", gather="max", hidden=[3]),
]


def build(spec: Any, width: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return registry.build_model(spec, (width,), 2).double()


def list_ids(spec: Any) -> str:
    return "-".join(map(str, spec.model_dump(exclude_defaults=True).values()))


@pytest.mark.parametrize("spec", READERS, ids=list_ids)
def test_filling_up_changes_neither_outputs_nor_gradients(spec: Any) -> None:
    rows = make_sequences(2, 7, 1, 4)
    longer = torch.cat([rows.pad(), torch.full((4, 5, 3), torch.nan, dtype=torch.float64)], 1)
    results = []
    for inputs in (rows.pad(), longer):
        model = build(spec)
        outputs = model(inputs)
        outputs.square().sum().backward()
        results.append([outputs.detach(), *(param.grad for param in model.parameters())])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("spec", READERS, ids=list_ids)
def test_a_row_is_answered_alike_alone_and_among_longer_ones(spec: Any) -> None:
    rows, model = make_sequences(2, 7, 1, 4), build(spec).eval()
    together = model(rows.pad())
    alone = torch.cat([model(part) for part in rows.split(1)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("spec", READERS, ids=list_ids)
def test_parameters_are_counted(spec: Any) -> None:
    counted = sum(param.numel() for param in build(spec).parameters())
    assert spec.parameter_count((3,), 2) == counted


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_recurrent_network_is_that_of_torch_row_by_row(cell: Any) -> None:
    spec = RNNSpec(over="sequence", cell=cell, hidden=5, layers=1, bidirectional=True)
    rows, model = make_sequences(2, 7, 1, 4), build(spec).eval()
    reference = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell](
        3, 5, bidirectional=True, batch_first=True
    ).double()
    state = model.state_dict()
    reference.load_state_dict(
        {name.removeprefix("layers.0."): each for name, each in state.items() if "layers" in name}
    )
    for place, row in enumerate(rows.split(1)):
        _, last = reference(row)
        hidden: Tensor = last[0] if cell == "lstm" else last  # (2, 1, H)
        expected = torch.cat(tuple(hidden), 1) @ state["output.weight"].T + state["output.bias"]
        torch.testing.assert_close(model(rows.pad())[place : place + 1], expected)


# ---------------------------------------------------------------- whole jobs

FAMILIES: dict[str, dict[str, Any]] = {
    **{
        f"rnn {cell}": {"type": "rnn", "cell": cell, "bidirectional": cell == "gru"}
        for cell in ("rnn", "lstm", "gru")
    },
    "cnn": {"type": "cnn", "pool": "max"},
}
TEST = {"split": {}, "test_id": "ds_" + "1" * 32}


def make_job(name: str, classify: bool = True, **parts: Any) -> Any:
    model = {"over": "sequence", "task": "classification", **FAMILIES[name]}
    training: dict[str, Any] = {
        "epochs": 25,
        "batch_size": 16,
        "optimizer": {"type": "adam", "lr": 0.02},
    }
    evaluation = {"metrics": ["accuracy"]}
    if not classify:
        model["task"], evaluation = "regression", {"metrics": ["r2", "mae"]}
        training |= {"loss": REGRESSION["training"]["loss"]}
    dataset = {"inputs": ["steps"], **TEST} | parts.get("dataset", {})
    training |= parts.get("training", {})
    return make_spec(model=model, dataset=dataset, training=training, evaluation=evaluation)


@pytest.mark.parametrize("classify", [True, False], ids=["classes", "number"])
@pytest.mark.parametrize("name", FAMILIES)
def test_sequences_are_learned_and_the_bundle_predicts_what_was_measured(
    ask: Ask, tmp_path: Path, name: str, classify: bool
) -> None:
    rows, test = (make_sequence_rows(n, classify, seed=n) for n in (120, 40))
    request, recorder = ask(make_job(name, classify), rows, test), Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    assert evaluation["test"]["accuracy" if classify else "r2"] >= 0.85
    losses = [value for series, _, value in recorder.points if series == "train/loss"]
    assert losses[-1] < losses[0] / 2
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    answers = predict_apart(folder, test)
    if classify:
        right = sum(a == y for a, y in zip(answers, test["y"], strict=True))
        assert right / 40 == pytest.approx(evaluation["test"]["accuracy"])
    else:
        error = sum(abs(float(a) - y) for a, y in zip(answers, test["y"], strict=True)) / 40
        assert error == pytest.approx(evaluation["test"]["mae"], rel=1e-5)


def test_a_bundle_reads_json_lines_and_its_readme_works(ask: Ask, tmp_path: Path) -> None:
    request = ask(make_job("cnn"), make_sequence_rows(), make_sequence_rows(9))
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    steps = make_sequence_rows(9)["steps"]
    lines = "\n".join(json.dumps({"steps": row}) for row in steps)
    (folder / "rows.jsonl").write_text(f"{lines}\n")
    assert call_apart(folder, "predict.py", "rows.jsonl") == predict_apart(folder, {"steps": steps})
    readme = (folder / "README.md").read_text()
    assert "predict.py rows.jsonl" in readme
    code = readme.split("```python\n")[1].split("```")[0]
    assert call_apart(folder, "-c", f"import sys; sys.path.insert(0, '.')\n{code}")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_changes_nothing_and_neither_does_running_again(ask: Ask, name: str) -> None:
    contents = []
    augment = [{"type": "noise"}, {"type": "mask", "share": 0.3}, {"type": "mixup"}]
    for cut in (None, None, 11):
        spec = make_job(name, training={"epochs": 3, "augment": augment})
        request = ask(spec, make_sequence_rows(), make_sequence_rows(20))
        if cut:
            run(request, stop_at(cut))
            request = next_attempt(request, request.folder / f"s{cut}")
        recorder = Recorder()
        run(request, recorder)
        (last,) = {each.name for each in recorder.checkpoints if each.step == 12} or {""}
        contents.append((request.folder.parent / last / "model.safetensors").read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_accumulated_batches_of_sequences_are_one_step(ask: Ask) -> None:
    weights = []
    for batch, parts in ((16, 1), (4, 4)):
        training = {"epochs": 2, "batch_size": batch, "accumulate": parts}
        spec = make_job("rnn gru", training=training)
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"dropout": 0.0})})
        request, recorder = ask(spec, make_sequence_rows(64), make_sequence_rows(9)), Recorder()
        run(request, recorder)
        weights.append([value for name, _, value in recorder.points if name == "validation/loss"])
    assert weights[0] == pytest.approx(weights[1], rel=1e-4)


def test_the_last_steps_are_read_where_rows_are_too_long(ask: Ask) -> None:
    spec = make_job("rnn gru", dataset={"sequence": {"max_length": 3}}, training={"epochs": 1})
    request = ask(spec, make_sequence_rows(), make_sequence_rows(9))
    run(request, Recorder())
    state = json.loads((request.folder / "bundle/features.json").read_text())
    assert (state["inputs"][0]["max_length"], state["inputs"][0]["keep"]) == (3, "last")


@pytest.mark.parametrize("where", ["dataset", "test dataset"])
def test_a_missing_sequence_is_named(ask: Ask, where: str) -> None:
    rows, test = make_sequence_rows(), make_sequence_rows(9)
    (rows if where == "dataset" else test)["steps"][4] = None
    with pytest.raises(
        DataError, match=f"of the {where} has no sequence in 1 rows, first in row 5"
    ):
        run(ask(make_job("cnn"), rows, test), Recorder())


def test_test_rows_of_another_width_are_refused(ask: Ask) -> None:
    test = make_sequence_rows(9)
    test["steps"] = [[step[:1] for step in row] for row in test["steps"]]
    with pytest.raises(DataError, match="steps of 1 numbers here and of 2"):
        run(ask(make_job("cnn"), make_sequence_rows(), test), Recorder())


def test_a_table_takes_no_sequence(ask: Ask) -> None:
    spec = make_spec(dataset={"inputs": ["steps", "a"]})
    with pytest.raises(DataError, match="'steps' holds sequence"):
        run(ask(spec, make_sequence_rows()), Recorder())


@pytest.mark.parametrize("name", ["rnn gru", "cnn"])
def test_predictions_of_sequences_are_explained_step_by_step(ask: Ask, name: str) -> None:
    spec = make_job(name, training={"epochs": 2})
    asked = {"explanations": [{"type": "integrated_gradients", "rows": 3, "steps": 8}]}
    evaluation = spec.evaluation.model_validate({"metrics": ["accuracy"], **asked})
    request = ask(spec.model_copy(update={"evaluation": evaluation}), make_sequence_rows(), None)
    request = replace(request, test_dataset=request.dataset)
    found = run(request, Recorder()).evaluation
    assert found is not None
    assert found["explanations"][0]["explained_rows"] == 3
