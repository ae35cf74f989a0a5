"""Cells that are lists become sequences, or bad rows that are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.datasets import lists, staging
from tests.app.datasets.tables import (
    column_of,
    kinds_of,
    make_parquet,
    problems_of,
    read_file,
    rows_of,
)


def read(folder: Path, *cells: Any) -> dict[str, Any]:
    """One row per cell, which is JSON text if it is text."""
    texts = [cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]
    lines = "\n".join(f'{{"s": {text}, "y": "a"}}' for text in texts)
    return read_file(folder, f"{lines}\n", "table.jsonl")


def test_lists_of_numbers_are_sequences_of_steps_of_one(tmp_path: Path) -> None:
    report = read(tmp_path, [1, 2, 3.5], "null", [-1e5], [0, 18446744073709551616])
    column = column_of(report, "s")
    assert (column["kind"], column["missing"], column["first_missing_row"]) == ("sequence", 1, 2)
    assert column["sequence"] == {"width": 1, "steps_min": 1, "steps_max": 3}
    assert [row[0] for row in rows_of(tmp_path)] == [
        [[1.0], [2.0], [3.5]],
        None,
        [[-1e5]],
        [[0.0], [18446744073709551616.0]],
    ]
    assert kinds_of(report)["y"] == "category"


def test_lists_of_steps_keep_their_numbers(tmp_path: Path) -> None:
    rows = [[[1, 2], [3, 4]], [[5.5, -6]]]
    report = read(tmp_path, *rows)
    assert column_of(report, "s")["sequence"] == {"width": 2, "steps_min": 1, "steps_max": 2}
    assert [row[0] for row in rows_of(tmp_path)] == rows


def test_a_preview_shows_the_first_steps(tmp_path: Path) -> None:
    read(tmp_path, list(range(100)), [1])
    first = json.loads((tmp_path / "preview.jsonl").read_text().splitlines()[0])
    assert first[0] == [[float(n)] for n in range(8)]


@pytest.mark.parametrize(
    ("cell", "type"),
    [
        ("[1, null]", "null_in_sequence"),
        ("[null]", "null_in_sequence"),
        ("[]", "empty_sequence"),
        ("[[]]", "empty_sequence"),
        ("[1, [2]]", "not_a_sequence"),
        ('["1"]', "not_a_sequence"),
        ('["null"]', "not_a_sequence"),
        ("[true]", "not_a_sequence"),
        ('[{"a": 1}]', "not_a_sequence"),
        ("[[[1]]]", "not_a_sequence"),
        ("[1e999]", "not_finite"),
        ("[[1, 2]]", "mixed_sequence"),
        ("[[1]]", "mixed_sequence"),
        ("5", "mixed_column"),
        ('"[1]"', "mixed_column"),
        ('{"a": 1}', "nested"),
    ],
)
def test_a_bad_row_among_numbers_is_named_by_its_line(tmp_path: Path, cell: str, type: str) -> None:
    report = read(tmp_path, [1, 2], [3], cell, [4])
    assert problems_of(report) == [(3, "s", type)]


@pytest.mark.parametrize(
    ("cell", "type", "message"),
    [
        ("[[1, 2], [3]]", "ragged_sequence", "differ in their count"),
        ("[[], [1, 2]]", "ragged_sequence", "differ in their count"),
        ("[[1, 2], null]", "null_in_sequence", "null inside"),
        ("[[1, null]]", "null_in_sequence", "null inside"),
        ("[[1, 2, 3]]", "mixed_sequence", "steps of 3 where most rows hold steps of 2"),
        ("[1, 2]", "mixed_sequence", "numbers where most rows hold steps of 2"),
        ("[[1, 2], 3]", "not_a_sequence", "neither a list of numbers nor"),
    ],
)
def test_a_bad_row_among_steps_is_named_by_its_line(
    tmp_path: Path, cell: str, type: str, message: str
) -> None:
    report = read(tmp_path, [[1, 2]], cell, [[4, 5]])
    assert problems_of(report) == [(2, "s", type)]
    assert message in report["errors"][0]["message"]


def test_lists_of_words_are_no_sequences(tmp_path: Path) -> None:
    report = read(tmp_path, ["a", "b"], ["c"])
    assert problems_of(report) == [(1, "s", "not_a_sequence"), (2, "s", "not_a_sequence")]


def test_a_sequence_that_is_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_STEPS", 4)
    report = read(tmp_path, [1, 2], [1, 2, 3, 4, 5], [1])
    assert problems_of(report) == [(2, "s", "sequence_too_long")]


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    report = read(tmp_path, *([[1]] * 300), *([[]] * 150))
    assert len(report["errors"]) == 100
    assert "150 problems" in report["message"]


def test_lists_in_parquet_are_sequences(tmp_path: Path) -> None:
    query = "SELECT * FROM (VALUES ([1, 2], [[1.5::FLOAT, 2]]), (NULL, [[3, 4], [5, 6]])) t(s, m)"
    report = read_file(tmp_path, make_parquet(tmp_path, query), "table.parquet")
    assert kinds_of(report) == {"s": "sequence", "m": "sequence"}
    assert rows_of(tmp_path) == [
        ([[1.0], [2.0]], [[1.5, 2.0]]),
        (None, [[3.0, 4.0], [5.0, 6.0]]),
    ]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ("[1.0], [NULL]", "null_in_sequence"),
        ("[1.0], []", "empty_sequence"),
        ("[1.0], ['nan'::DOUBLE]", "not_finite"),
        ("[[1.0, 2]], [[1.0], [2, 3]]", "ragged_sequence"),
        ("[[1.0, 2]], [NULL]", "null_in_sequence"),
        ("[[1.0, 2]], [[1, 2, 3]]", "mixed_sequence"),
    ],
)
def test_bad_lists_in_parquet_are_named(tmp_path: Path, cells: str, problem: str) -> None:
    query = f"SELECT unnest([{cells}]) AS s"
    report = read_file(tmp_path, make_parquet(tmp_path, query), "table.parquet")
    assert problems_of(report) == [(2, "s", problem)]


def test_lists_of_text_in_parquet_are_refused(tmp_path: Path) -> None:
    query = "SELECT unnest([['a'], ['b']]) AS s"
    report = read_file(tmp_path, make_parquet(tmp_path, query), "table.parquet")
    assert problems_of(report) == [("s", "type")]


def test_a_small_file_of_lists_that_unfolds_to_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ALWAYS_ALLOWED_BYTES", 1000)
    query = "SELECT [0 FOR _ IN range(1000)] AS s FROM range(500)"
    report = read_file(tmp_path, make_parquet(tmp_path, query), "table.parquet")
    assert report["problem"] == "dataset-too-large"
