"""CSV whose cells are parted by tabs; commas are text."""

from collections.abc import Sequence
from pathlib import Path

from duckdb import DuckDBPyConnection

from app.datasets.formats.csv import read_delimited, read_head
from app.datasets.staging import Problem, Rejected, Staged

SUFFIXES = (".tsv", ".tab")


def looks_like(_head: bytes, _names: Sequence[str]) -> bool:
    return False  # a tab may stand in any text


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    first = read_head(original).lstrip(b"\r\n").split(b"\n", 1)[0]
    if b"," in first and b"\t" not in first:
        problem = Problem("it has commas and no tab", "delimiter", line=1)
        raise Rejected("The first line is not parted by tabs. Send the file as CSV.", problem)
    return read_delimited(connection, original, staged, "\t")
