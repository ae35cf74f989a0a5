"""Rows on disk: prepared as in memory, each seen once per epoch, exact on resume, gone after."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.worker.conftest import (
    REGRESSION,
    Recorder,
    make_rows,
    make_spec,
    make_text_rows,
    stop_at,
)
from tests.worker.conftest import Rows as RawRows
from tests.worker.engine.test_resume import assert_equal_runs
from worker.data import blocks, chunks, mapped
from worker.data.blocks import BlockBatches, BlockOrder
from worker.data.load import load
from worker.data.prepare import Prepared, encode, prepare
from worker.data.rows import Rows
from worker.data.stream import prepare_rows
from worker.engine.build import build_batches
from worker.engine.errors import DataError, UserError
from worker.engine.reporter import Stop, heed_stop
from worker.engine.request import Request, Result
from worker.engine.run import run
from worker.engine.warnings import Warnings
from worker.losses import cross_entropy

Ask = Callable[..., Request]
DISK = {"hold": "disk"}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that tables of some rows have chunks, groups and blocks."""
    monkeypatch.setattr(chunks, "CHUNK_CELLS", 60)
    monkeypatch.setattr(chunks, "CHUNK_TEXTS", 11)
    monkeypatch.setattr(chunks, "heed_stop", lambda _: None)  # steps are counted by its reads
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 120)
    monkeypatch.setattr(blocks, "GROUP_BYTES", 400)
    monkeypatch.setattr(mapped, "PIECE_BYTES", 150)


def ask_both(
    ask: Ask, rows: RawRows, test: RawRows | None = None, **parts: Any
) -> tuple[Request, Request]:
    """The same job in memory and on disk."""
    held = make_spec(**parts)
    dataset = held.dataset.model_copy(update=DISK)
    return ask(held, rows, test), ask(held.model_copy(update={"dataset": dataset}), rows, test)


def prepare_both(held: Request, on_disk: Request) -> tuple[Prepared, Prepared, str]:
    """And the warnings, which are the same."""
    theirs, ours = Recorder(), Recorder()
    prepared = prepare(held, Warnings(theirs)), prepare_rows(on_disk, Warnings(ours))
    assert sorted(ours.warnings.splitlines()) == sorted(theirs.warnings.splitlines())
    return *prepared, ours.warnings


def read_all(rows: Rows) -> Tensor:
    assert not isinstance(rows, Tensor)
    return torch.cat([part for part in rows.split(7) if isinstance(part, Tensor)])


def assert_alike(held: Prepared, on_disk: Prepared) -> None:
    assert on_disk.classes == held.classes
    for name in ("train", "validation", "test"):
        ours, theirs = getattr(on_disk, name), getattr(held, name)
        assert len(ours) == len(theirs)
        assert torch.equal(ours.targets, theirs.targets)
        if len(theirs):
            torch.testing.assert_close(read_all(ours.inputs), theirs.inputs)


# ---------------------------------------------------------------- preparing

SPLITS: list[dict[str, Any]] = [
    {"validation": 0.2, "test": 0.2},
    {"validation": 0.0, "test": 0.0, "seed": 5},
    {"validation": 0.3, "test": 0.1, "stratify": False},
    {"by": "group", "column": "kind", "validation": 0.2, "test": 0.2},
    {"by": "group", "column": "a", "validation": 0.2, "test": 0.2},
    {"by": "time", "column": "b", "validation": 0.2, "test": 0.2},
    {"by": "time", "column": "day", "validation": 0.2, "test": 0.2},
    {"by": "column", "column": "part", "test": None},
    {"by": "column", "column": "two", "test": None, "validation": 0.3},
    {"by": "column", "column": "two", "test": None, "validation": 0.3, "stratify": False},
    {"by": "column", "column": "two", "test": None, "validation": 0.0},
]


@pytest.mark.parametrize("classify", [False, True])
@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_rows_are_divided_and_encoded_as_in_memory(
    ask: Ask, split: dict[str, Any], classify: bool
) -> None:
    rows = make_rows(90, classify=classify)
    rows["day"] = [f"2024-01-{1 + row * 7 % 28:02}" for row in range(90)]
    rows["part"] = [("train", "train", "test", "validation")[row % 4] for row in range(90)]
    rows["two"] = ["test" if row % 5 == 2 else "train" for row in range(90)]
    rows["halves"] = [("train", "test")[row // 60] for row in range(90)]
    rows["c"][::3] = [None] * 30
    rows["kind"][::7] = [None] * 13
    inputs = ["a", "kind", "b", "c"]
    if split.get("column") == "kind":
        rows["kind"] = [kind or "w" for kind in rows["kind"]]
    parts = {} if classify else REGRESSION
    held, on_disk = ask_both(ask, rows, dataset={"split": split, "inputs": inputs}, **parts)
    assert_alike(*prepare_both(held, on_disk)[:2])


@pytest.mark.parametrize("impute", ["mean", "median"])
def test_the_same_features_give_the_same_bits(ask: Ask, impute: str) -> None:
    rows = make_rows(100)
    rows["b"][::3] = [None] * 34
    held, on_disk = ask_both(ask, rows, dataset={"impute": impute, "split": {"test": 0.0}})
    prepared = prepare_rows(on_disk, Warnings(Recorder()))
    columns = load(held, Warnings(Recorder())).columns
    whole = encode("all", prepared.features, columns, Warnings(Recorder())).inputs
    assert isinstance(whole, Tensor)
    parts = torch.cat([read_all(prepared.train.inputs), read_all(prepared.validation.inputs)])
    assert sorted(whole.tolist()) == sorted(parts.tolist())


@pytest.mark.parametrize("rows", [59, 60])
def test_medians_are_exact(ask: Ask, rows: int) -> None:
    cells = make_rows(rows)
    cells["a"][::4] = [None] * 15
    cells["b"] = [-value if row % 2 else value * 1e300 for row, value in enumerate(cells["b"])]
    split = {"validation": 0.0, "test": 0.0}
    held, on_disk = ask_both(ask, cells, dataset={"impute": "median", "split": split})
    theirs, ours, _ = prepare_both(held, on_disk)
    fills = [
        [column.to_json().get("fill") for column in prepared.features.inputs]
        for prepared in (theirs, ours)
    ]
    assert fills[0] == fills[1]


def test_odd_columns_are_those_of_memory(ask: Ask) -> None:
    rows = make_rows(60)
    rows |= {
        "constant": [7.0] * 60,
        "empty": [None] * 59 + [1.0],
        "huge": [(-1) ** row * 1e308 for row in range(60)],
        "y": rows["y"],
    }
    split = {"by": "column", "column": "part", "test": None}
    rows["part"] = ["train"] * 40 + ["validation"] * 9 + ["test"] * 11
    rows["kind"][-5:] = ["unseen"] * 5
    rows["y"][-2:] = ["unseen"] * 2
    inputs = [name for name in rows if name not in ("y", "part")]
    held, on_disk = ask_both(ask, rows, dataset={"split": split, "inputs": inputs})
    theirs, ours, warnings = prepare_both(held, on_disk)
    assert_alike(theirs, ours)
    assert "'constant', 'empty'" in warnings
    assert "5 of 11 test rows hold a category" in warnings
    assert "2 of 11 test rows have a 'y'" in warnings


def test_a_test_dataset_and_missing_targets_are_those_of_memory(ask: Ask) -> None:
    rows, test = make_rows(60), make_rows(30, seed=1)
    rows["y"][3:6], test["y"][7] = [None] * 3, None
    dataset = {"test_id": "ds_" + "1" * 32, "split": {"test": 0.0}, "missing_target": "drop"}
    held, on_disk = ask_both(ask, rows, test, dataset=dataset)
    theirs, ours, warnings = prepare_both(held, on_disk)
    assert_alike(theirs, ours)
    assert "1 rows of the test dataset have no 'y'" in warnings
    strict = make_spec(dataset={**dataset, **DISK, "missing_target": "error"})
    with pytest.raises(DataError, match="missing in 3 rows of the dataset, first in row 4"):
        prepare_rows(ask(strict, rows, test), Warnings(Recorder()))


@pytest.mark.parametrize("tokenizer", ["word", "character", "byte", "bpe", "wordpiece"])
def test_tokens_are_those_of_memory(ask: Ask, tokenizer: str) -> None:
    rows = make_text_rows(70)
    rows["text"][5:8] = [None, "Über 日本 \U0001f600", ""]
    text = {"type": "tokens", "columns": ["text"], "tokenizer": tokenizer, "max_length": 9}
    model = {"type": "cnn"}
    held, on_disk = ask_both(ask, rows, model=model, dataset={"text": text, "inputs": ["text"]})
    theirs, ours, _ = prepare_both(held, on_disk)
    assert ours.features.to_json() == theirs.features.to_json()
    assert_alike(theirs, ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": [1e300] + [1.0] * 59}, "too large for 32 bits"),
        ({"y": ["c0"] * 60}, "hold one class of 'y': 'c0'"),
        ({"y": [None] * 60}, "missing in 60 rows"),
    ],
)
def test_bad_data_is_told_as_in_memory(ask: Ask, change: RawRows, message: str) -> None:
    requests = ask_both(ask, make_rows() | change, dataset={"scale": "none"})
    for request in requests:
        with pytest.raises(DataError, match=message):
            prepare_rows(request, Warnings(Recorder()))


def test_a_bad_cell_is_named_by_its_row_in_the_file(ask: Ask) -> None:
    rows = make_rows()
    rows["day"] = ["2024-01-01"] * 50 + ["soon"] * 10
    split = {"by": "time", "column": "day"}
    spec = make_spec(dataset={"split": split, "inputs": ["a"], **DISK})
    with pytest.raises(DataError, match="'day', row 51: 'soon'"):
        prepare_rows(ask(spec, rows), Warnings(Recorder()))


def test_counts_of_terms_are_refused(ask: Ask) -> None:
    text = {"type": "tf_idf", "columns": ["text"]}
    spec = make_spec(dataset={"text": text, **DISK})
    with pytest.raises(UserError, match="cannot be held: text as counts of terms"):
        prepare_rows(ask(spec, make_text_rows()), Warnings(Recorder()))


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("rows", "block", "group"), [(1, 5, 3), (50, 7, 20), (64, 8, 16), (5, 9, 9)]
)
def test_every_row_comes_once_per_epoch(rows: int, block: int, group: int) -> None:
    orders = []
    for seed in range(4):
        order = BlockOrder(rows, block, seed)
        listed = [order.list_rows(start, start + group) for start in range(0, rows, group)]
        orders.append([int(row) for part in listed for row in part])
        assert sorted(orders[-1]) == list(range(rows))
    assert rows == 1 or len(set(map(tuple, orders))) > 1


def make_batches(ask: Ask, batch_size: int) -> BlockBatches:
    spec = make_spec(training={"batch_size": batch_size}, dataset=DISK)
    data = prepare_rows(ask(spec, make_rows(100)), Warnings(Recorder()))
    loss = cross_entropy.build(SimpleNamespace(label_smoothing=0.0))  # type: ignore[arg-type]
    batches = build_batches(spec.training, data, loss)
    assert isinstance(batches, BlockBatches)
    return batches


@pytest.mark.parametrize("batch_size", [1, 3, 8, 70, 1000])
def test_batches_pair_each_row_with_its_target(ask: Ask, batch_size: int) -> None:
    batches = make_batches(ask, batch_size)
    expected = zip(read_all(batches.inputs).tolist(), batches.targets.tolist(), strict=True)
    seen = list(batches.epoch(2, 0))
    assert len(seen) == batches.per_epoch
    assert {len(inputs) for inputs, _ in seen[:-1]} <= {batch_size}
    pairs = [
        (row, target)
        for inputs, targets in seen
        for row, target in zip(inputs.tolist(), targets.tolist(), strict=True)
    ]
    assert sorted(pairs) == sorted(expected)


def test_an_epoch_may_be_entered_at_any_batch(ask: Ask) -> None:
    batches = make_batches(ask, 3)
    assert batches.group * 3 < len(batches.inputs) / 3  # several groups
    whole = list(batches.epoch(1, 0))
    for skip in range(len(whole)):
        rest = list(batches.epoch(1, skip))
        assert len(rest) == len(whole) - skip
        assert all(torch.equal(a, b) for a, b in zip(rest[0], whole[skip], strict=True))
    other = list(batches.epoch(2, 0))
    assert not all(torch.equal(a, b) for (a, _), (b, _) in zip(whole, other, strict=True))


def test_the_thread_ends_with_the_epoch_or_with_whoever_reads_it(ask: Ask) -> None:
    batches = make_batches(ask, 3)
    for _ in batches.epoch(0, 0):
        assert sum(t.name.startswith("read-ahead") for t in threading.enumerate()) <= 1
    epoch = batches.epoch(0, 0)
    next(epoch)
    del epoch
    assert not any(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def test_what_cannot_be_read_is_raised_to_the_trainer(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = make_batches(ask, 3)

    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(type(batches.inputs), "read", fail)
    with pytest.raises(OSError, match="Input/output error"):
        next(batches.epoch(0, 0))


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("family", ["linear", "logistic", "mlp", "cnn", "rnn"])
@pytest.mark.parametrize("cuts", [[1, 2, 9], [7, 12]], ids=str)
def test_a_resumed_run_equals_an_uninterrupted_one(ask: Ask, family: str, cuts: list[int]) -> None:
    training = {"epochs": 3, "batch_size": 8, "log_every": 4}
    parts: dict[str, Any] = {"model": {"type": family}, "training": training}
    rows = make_text_rows() if family in ("cnn", "rnn") else make_rows(classify=family != "linear")
    if family == "linear":
        parts |= {
            "training": training | {"loss": {"type": "mse"}},
            "evaluation": {"metrics": ["r2"]},
        }
    _, request = ask_both(ask, rows, **parts)
    assert_equal_runs(request, cuts)


def test_a_model_learns_as_well_as_in_memory(ask: Ask) -> None:
    requests = ask_both(
        ask,
        make_rows(300),
        model={"type": "mlp"},
        training={"epochs": 30, "optimizer": {"type": "adam", "lr": 0.01}},
    )
    scores = []
    for request in requests:
        evaluation = run(request, Recorder()).evaluation
        assert evaluation is not None
        scores.append(evaluation["test"]["accuracy"])
    assert min(scores) > 0.8


@pytest.mark.parametrize("tokenizer", ["word", "bpe"])
@pytest.mark.parametrize("reads", range(0, 30, 5))
def test_a_stop_is_heeded_while_rows_are_prepared(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, reads: int, tokenizer: str
) -> None:
    monkeypatch.setattr(chunks, "heed_stop", heed_stop)
    text = {"type": "tokens", "columns": ["text"], "tokenizer": tokenizer}
    spec = make_spec(model={"type": "cnn"}, dataset={"text": text, **DISK})
    recorder = stop_at(reads)
    assert run(ask(spec, make_text_rows(200)), recorder) == Result(Stop.PAUSE)
    assert recorder.of("phase") == ["preparing"]


@pytest.mark.parametrize("size_bytes", [10, 1000, 10**9])
def test_long_texts_are_read_a_few_at_a_time(size_bytes: int) -> None:
    groups = [(100, size_bytes), (0, 0), (3, size_bytes)]
    parts = list(chunks.plan_chunks(groups, {"text": "text"}))
    assert [row for first, last in parts for row in range(first, last)] == list(range(103))
    assert max(last - first for first, last in parts) == (1 if size_bytes > 10**8 else 10)


def test_single_rows_may_be_explained(ask: Ask) -> None:
    evaluation = {"explanations": [{"type": "integrated_gradients"}]}
    explained = [
        run(request, Recorder()).evaluation
        for request in ask_both(ask, make_rows(), evaluation=evaluation)
    ]
    first, second = (each["explanations"][0] for each in explained if each)
    assert first.keys() == second.keys()


def test_nothing_is_left_behind(ask: Ask, tmp_path: Path) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    for recorder in (Recorder(), stop_at(5)):
        _, request = ask_both(ask, make_rows())
        run(request, recorder)
        names = {path.name for path in request.folder.iterdir()}
        assert names <= {"bundle", "s5"} | {name for name in names if name.startswith("s")}
        del request
    with pytest.raises(DataError):
        run(ask(make_spec(dataset=DISK), make_rows() | {"y": ["c0"] * 60}), Recorder())
    assert len(os.listdir("/proc/self/fd")) <= open_files
    assert not any(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def test_a_disk_too_full_is_said_before_anything_is_written(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_bavail=1, f_frsize=100)
    monkeypatch.setattr(mapped.os, "statvfs", lambda _: disk)
    with pytest.raises(OSError, match="encoded rows need") as caught:
        prepare_rows(ask(make_spec(dataset=DISK)), Warnings(Recorder()))
    assert caught.value.errno == errno.ENOSPC
