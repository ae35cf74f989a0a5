"""A zip or tar of pictures, by class folder or with a table that names them.

`class/name.png` gives the columns `image` and `label`; with `train/`, `validation/` and `test/`
above the classes, also `split`. One folder around everything is looked through. With a table, each
of its columns whose cells name pictures by their path becomes an image column, and the other
columns stay what they are; a picture that no row names is left out.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection

from app.datasets.album import hold_texts, read_album, register_album
from app.datasets.archive import find_kind, list_members
from app.datasets.catalogue import read_catalogue
from app.datasets.folders import find_places
from app.datasets.formats import load_format
from app.datasets.staging import Problem, Problems, Rejected, Staged, copy_rows
from app.specs.data import ColumnKind, DatasetFormat

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
TABLES: tuple[DatasetFormat, ...] = ("csv", "tsv", "jsonl", "parquet")
OFFICE = "[Content_Types].xml"


def looks_like(head: bytes, names: Sequence[str]) -> bool:
    return find_kind(head) is not None and bool(names) and OFFICE not in names


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    names = [member.name for member in list_members(original)]
    tables = [(name, format) for name in names if (format := _find_table(name))]
    pictures = [name for name in names if _find_table(name) is None]
    _refuse_repeated(names)
    if not pictures:
        raise Rejected("The archive holds no pictures. Send a table as it is, not packed.")
    if len(tables) > 1:
        found = [Problem("a second table", "table", member=name) for name, _ in tables[1:]]
        raise Rejected("The archive holds more than one table.", *found)
    if tables:
        return read_catalogue(connection, original, staged, tables[0], pictures)
    return _read_folders(connection, original, staged, pictures)


def _find_table(name: str) -> DatasetFormat | None:
    matches = (table for table in TABLES if name.lower().endswith(load_format(table).SUFFIXES))
    return next(matches, None)


def _refuse_repeated(names: Sequence[str]) -> None:
    seen: set[str] = set()
    again = [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    if again:
        found = [Problem("it is there twice", "repeated", member=name) for name in again]
        raise Rejected("The archive holds files of the same name.", *found)


# ---------------------------------------------------------------- class folders


def _read_folders(
    connection: DuckDBPyConnection, original: Path, staged: Path, pictures: Sequence[str]
) -> Staged:
    problems = Problems()
    places = find_places(pictures)
    album = read_album(original, places.labels, problems)
    if problems.total:
        return Staged(staged, [], [], problems, list)
    register_album(connection, album)
    columns = {"label": places.labels} | ({"split": places.parts} if places.parts else {})
    words = {name: [values[n] for n in album.names] for name, values in columns.items()}
    rows = {name: hold_texts(values) for name, values in words.items()}
    connection.register("folders", {"i": np.arange(len(album.names)), **rows})
    cells = ", ".join(f"{name}::VARCHAR AS c{i}" for i, name in enumerate(columns, 1))
    query = f"SELECT picture AS c0, {cells} FROM pictures JOIN folders USING (i) ORDER BY i"
    copy_rows(connection, query, staged, 1 + len(columns))
    kinds: list[ColumnKind] = ["image", "text", "text"]
    return Staged(staged, ["image", *columns], kinds[: 1 + len(columns)], problems, list)
