"""Splits that look at a column."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
import torch

from tests.worker.conftest import Recorder, make_rows, make_spec
from worker.data.divide import read_times, split_by_group, split_by_time
from worker.data.load import load
from worker.data.parts import split_columns
from worker.data.split import Split
from worker.engine.errors import DataError
from worker.engine.request import Request
from worker.engine.run import run
from worker.engine.warnings import Warnings

Ask = Callable[..., Request]


def measure(request: Request) -> dict[str, Any]:
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    return evaluation


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_never_in_two_parts(seed: int) -> None:
    groups = [f"g{row * row % 17}" for row in range(200)]
    split = split_by_group(groups, 0.2, 0.2, seed)
    parts = [{groups[row] for row in part.tolist()} for part in vars(split).values()]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts))
    assert sum(len(part) for part in vars(split).values()) == 200
    assert min(len(part) for part in vars(split).values()) >= 20


def test_the_latest_rows_are_tested_on() -> None:
    split = split_by_time([5, 1, 4, 2, 3, 0, 9, 8, 7, 6], 0.2, 0.3)
    assert split.test.tolist() == [6, 7, 8]
    assert split.validation.tolist() == [0, 9]
    assert split.train.tolist() == [1, 2, 3, 4, 5]


def test_times_are_compared_across_zones() -> None:
    texts: list[str | None] = ["2024-01-01T12:00:00", "2024-01-01T12:30:00+01:00", "2024-01-01"]
    first, second, third = read_times(texts, "at")
    assert third < second < first
    with pytest.raises(DataError, match="'at', row 1: 'soon'"):
        read_times(["soon"], "at")


def test_rows_are_divided_by_a_column_that_is_no_input(ask: Ask) -> None:
    rows = make_rows()
    rows["part"] = ["train"] * 40 + ["validation"] * 8 + ["test"] * 12
    split = {"by": "column", "column": "part", "test": None}
    evaluation = measure(ask(make_spec(dataset={"split": split}), rows))
    assert evaluation["rows"] == {"train": 40, "validation": 8, "test": 12}
    rows["part"][5] = "other"
    with pytest.raises(DataError, match="'part', row 6: 'other' is none of"):
        measure(ask(make_spec(dataset={"split": split}), rows))


def divide_parts(ask: Ask, **split: Any) -> Split:
    """150 rows, of which the last 30 are for testing and none is for validation."""
    rows = make_rows(150, classify=True)
    rows["part"] = ["train"] * 120 + ["test"] * 30
    asked = {"by": "column", "column": "part", "test": None} | split
    request = ask(make_spec(dataset={"split": asked, "inputs": ["a", "b"]}), rows)
    return split_columns(request, load(request, Warnings(Recorder())).columns)


def test_validation_rows_that_a_column_does_not_name_are_drawn_from_its_training_rows(
    ask: Ask,
) -> None:
    first, again, other = (divide_parts(ask, validation=0.2, seed=seed) for seed in (1, 1, 2))
    assert first.test.tolist() == list(range(120, 150))
    assert sorted(torch.cat([first.train, first.validation]).tolist()) == list(range(120))
    assert len(first.validation) == 24
    assert torch.equal(first.validation, again.validation)
    assert not torch.equal(first.validation, other.validation)
    assert len(divide_parts(ask, validation=0.0).validation) == 0


def test_they_keep_the_shares_of_the_classes_unless_told_not_to(ask: Ask) -> None:
    classes = make_rows(150, classify=True)["y"]
    (name, *_), part = sorted(set(classes)), classes[:120]
    counts: dict[bool, set[int]] = {}
    for stratify in (True, False):
        splits = [divide_parts(ask, seed=seed, stratify=stratify) for seed in range(5)]
        drawn = [[classes[row] for row in split.validation.tolist()] for split in splits]
        counts[stratify] = {each.count(name) for each in drawn}
    assert counts[True] == {round(12 * part.count(name) / 120)}
    assert len(counts[False]) > 1


@pytest.mark.parametrize("by", ["group", "time"])
def test_a_job_divides_by_a_column(ask: Ask, by: str) -> None:
    rows, start = make_rows(), date(2024, 1, 1)
    rows["day"] = [str(start + timedelta(days=row // 2)) for row in range(60)]
    split = {"by": by, "column": "day", "test": 0.2}
    spec = make_spec(dataset={"split": split, "inputs": ["a", "b", "kind"]})
    assert measure(ask(spec, rows))["rows"] == {"train": 42, "validation": 6, "test": 12}


def test_a_missing_cell_of_the_column_is_an_error(ask: Ask) -> None:
    rows = make_rows()
    rows["day"] = [None, *range(59)]
    split = {"by": "time", "column": "day"}
    with pytest.raises(DataError, match="'day' is missing in 1 rows"):
        measure(ask(make_spec(dataset={"split": split}), rows))
