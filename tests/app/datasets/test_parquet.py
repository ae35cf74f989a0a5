from pathlib import Path

import pytest

from tests.app.datasets.tables import (
    column_of,
    kinds_of,
    make_parquet,
    problems_of,
    read_file,
    rows_of,
)


def read(folder: Path, query: str) -> dict:
    return read_file(folder, make_parquet(folder, query), "table.parquet")


def test_types_become_kinds(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        """SELECT i::DECIMAL(9, 2) AS d, i::UTINYINT AS u, i % 2 = 0 AS b, DATE '2024-01-01' AS t,
        'c' || i % 3 AS c, i::FLOAT / 2 AS f FROM range(30) r(i)""",
    )
    assert kinds_of(report) == {
        "d": "number",
        "u": "number",
        "b": "boolean",
        "t": "time",
        "c": "category",
        "f": "number",
    }
    assert rows_of(tmp_path)[3] == (3.0, 3.0, "false", "2024-01-01", "c0", 1.5)


def test_nan_is_missing_and_infinity_a_bad_row(tmp_path: Path) -> None:
    report = read(
        tmp_path, "SELECT CASE i WHEN 1 THEN 'nan'::DOUBLE ELSE i END AS x FROM range(4) r(i)"
    )
    assert column_of(report, "x")["first_missing_row"] == 2
    report = read(
        tmp_path, "SELECT CASE i WHEN 1 THEN 'inf'::DOUBLE ELSE i END AS x FROM range(4) r(i)"
    )
    assert problems_of(report) == [(2, "x", "not_finite")]


@pytest.mark.parametrize("cell", ["['x']", "[[[1]]]", "{'a': 1}", "'x'::BLOB", "INTERVAL 1 DAY"])
def test_columns_that_are_not_flat_are_refused_by_name(tmp_path: Path, cell: str) -> None:
    report = read(tmp_path, f"SELECT {cell} AS odd, 1 AS fine FROM range(3)")
    assert problems_of(report) == [("odd", "type")]


def test_a_small_file_that_unfolds_to_gigabytes_is_refused(tmp_path: Path) -> None:
    report = read(tmp_path, "SELECT repeat('y', 1000) AS t FROM range(1000000)")
    assert report["problem"] == "dataset-too-large"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    good = make_parquet(tmp_path, "SELECT i, 'c' || i AS c FROM range(1000) r(i)")
    damaged = [good[:-20], good[:-8] + b"\xff\xff\xff\x7fPAR1", b"PAR1" + bytes(100) + b"PAR1"]
    for content in damaged:
        assert read_file(tmp_path, content, "t.parquet")["problem"] == "dataset-invalid"


def test_an_encrypted_file_is_named(tmp_path: Path) -> None:
    report = read_file(tmp_path, b"PARE" + bytes(100) + b"PARE", "t.parquet")
    assert "encrypted" in report["message"]
