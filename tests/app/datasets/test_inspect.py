"""The sandbox, and what holds for every format."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import duckdb
import pytest

from app.datasets import formats
from app.datasets.formats import guess_format, load_format
from app.datasets.inspect import connect
from app.specs.data import DatasetFormat
from tests.app.datasets.tables import read_file


def test_every_format_of_the_spec_has_one_file() -> None:
    folder = Path(str(formats.__file__)).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == set(get_args(DatasetFormat))


@pytest.mark.parametrize("name", get_args(DatasetFormat))
def test_a_format_is_found_by_its_suffixes(name: DatasetFormat) -> None:
    for suffix in load_format(name).SUFFIXES:
        assert guess_format(f"table{suffix.upper()}", b"x,y") == name


def test_content_weighs_more_than_the_name() -> None:
    assert guess_format("table.csv", b"PAR1\x00") == "parquet"
    assert guess_format("table", b'{"x": 1}\n') == "jsonl"
    assert guess_format("table", b"x,y\n") == "csv"


def test_the_sandbox_reaches_nothing_but_its_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.csv").write_text("x\n1\n")
    with connect(inside) as connection:
        for query in (
            f"FROM read_csv('{outside}/secret.csv')",
            f"FROM read_csv('{inside}/../out/secret.csv')",
            f"COPY (SELECT 1) TO '{outside}/new.csv'",
            f"ATTACH '{outside}/new.db'",
            "INSTALL httpfs",
            "SET enable_external_access = true",
            "SET memory_limit = '100GB'",
        ):
            with pytest.raises(duckdb.Error):
                connection.execute(query)
        connection.execute(f"COPY (SELECT 1 AS x) TO '{inside}/new.csv'")
    assert [path.name for path in outside.iterdir()] == ["secret.csv"]


def test_only_what_is_kept_is_left_in_the_folder(tmp_path: Path) -> None:
    read_file(tmp_path, '{"x": 1}\n{"x": 2}\n', "t.jsonl")
    names = {path.name for path in tmp_path.iterdir()} - {"spill"}
    assert names == {"original", "table.parquet", "preview.jsonl"}


def test_the_preview_shows_whole_numbers_whole_and_cuts_long_text(tmp_path: Path) -> None:
    read_file(tmp_path, f"i,f,t\n1,1.5,{'x' * 2000}\n,2,y\n")
    rows = [json.loads(line) for line in (tmp_path / "preview.jsonl").read_text().splitlines()]
    assert rows == [[1, 1.5, "x" * 1000], [None, 2.0, "y"]]


def test_the_child_ends_with_whoever_started_it(tmp_path: Path) -> None:
    (tmp_path / "original").write_text("x,y\n" + "1,2\n" * 5_000_000)
    reading, writing = os.pipe()
    request = json.dumps({"filename": "t.csv", "format": None})
    child = subprocess.Popen(
        [sys.executable, "-m", "app.datasets.inspect", str(tmp_path), "100", request],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(reading)
    time.sleep(0.6)
    assert child.poll() is None
    os.close(writing)
    assert child.wait(timeout=5) == 1
