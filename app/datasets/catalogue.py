"""A table beside the pictures of an archive, some of whose columns name them."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from duckdb import DuckDBPyConnection

from app.datasets.album import hold_texts, read_album, register_album
from app.datasets.archive import open_member
from app.datasets.folders import strip_common
from app.datasets.formats import load_format
from app.datasets.staging import (
    CHUNK_BYTES,
    MAX_PROBLEMS,
    Problem,
    Rejected,
    Staged,
    copy_rows,
    quote_text,
)
from app.specs.data import ColumnKind, DatasetFormat


def read_catalogue(
    connection: DuckDBPyConnection,
    original: Path,
    staged: Path,
    table: tuple[str, DatasetFormat],
    pictures: Sequence[str],
) -> Staged:
    """The table, with pictures in place of their names. `pictures` are paths in the archive."""
    rows = _read_table(connection, original, staged, *table)
    if rows.problems.total:
        return rows
    _register_keys(connection, table[0], pictures)
    columns = [i for i in range(len(rows.names)) if _names_pictures(connection, rows, i)]
    if not columns:
        name, example = table[0], pictures[0]
        raise Rejected(f"No column of {name} names the pictures by their path, like {example!r}.")
    for i in columns:
        _add_strangers(connection, rows, i)
    if rows.problems.total:
        return rows
    album = read_album(original, _list_wanted(connection, rows, columns), rows.problems)
    if rows.problems.total:
        return replace(rows, names=[], kinds=[])
    register_album(connection, album)
    return _join(connection, rows, columns, staged)


def _read_table(
    connection: DuckDBPyConnection, original: Path, staged: Path, name: str, format: DatasetFormat
) -> Staged:
    file = staged.with_name("table")
    with open_member(original, name) as member, file.open("wb") as out:
        shutil.copyfileobj(member, out, CHUNK_BYTES)
    try:
        rows = load_format(format).read(connection, file, staged.with_name("rows.parquet"))
    except Rejected as error:
        problems = [replace(problem, member=name) for problem in error.problems]
        raise Rejected(f"{name}: {error}", *problems, kind=error.kind) from error
    return replace(rows, member=name)


# ---------------------------------------------------------------- which picture a cell names


def _register_keys(connection: DuckDBPyConnection, table: str, pictures: Sequence[str]) -> None:
    """A table `keys` of what a cell may say and the path that it means."""
    found: dict[str, str | None] = {}
    for key, path in _list_keys(PurePosixPath(table), pictures):
        found[key] = path if found.get(key, path) == path else None
    keys = {key: path for key, path in found.items() if path is not None}
    cells = {"key": hold_texts(list(keys)), "path": hold_texts(list(keys.values()))}
    connection.register("raw_keys", cells)
    connection.execute("CREATE TEMP TABLE keys AS SELECT key::VARCHAR AS key, path FROM raw_keys")


def _list_keys(table: PurePosixPath, pictures: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Its path in the archive, from the table, or below the common folder; or its mere name,
    which helps as long as it is the only one."""
    paths = [PurePosixPath(picture) for picture in pictures]
    stripped = strip_common([path.parts for path in paths])
    for picture, path, rest in zip(pictures, paths, stripped, strict=True):
        yield picture, picture
        yield "/".join(rest), picture
        if path.is_relative_to(table.parent):
            yield str(path.relative_to(table.parent)), picture
    whole = set(pictures)
    yield from (
        (path.name, picture)
        for picture, path in zip(pictures, paths, strict=True)
        if path.name not in whole
    )


def _names_pictures(connection: DuckDBPyConnection, rows: Staged, i: int) -> bool:
    if rows.kinds[i] not in (None, "text"):
        return False
    query = f"SELECT count(c{i}), count(path) FROM {_source(rows)} {_look_up(i)}"
    ((present, found),) = connection.execute(query).fetchall()
    return bool(found and 2 * found >= present)


def _source(rows: Staged) -> str:
    return f"read_parquet({quote_text(rows.path)}, file_row_number=true)"


def _look_up(i: int, view: str = "keys") -> str:
    cell = f"regexp_replace(replace(trim(c{i}), '\\', '/'), '^(\\./)+', '')"
    return f"LEFT JOIN keys AS {view} ON {view}.key = {cell}"


def _add_strangers(connection: DuckDBPyConnection, rows: Staged, i: int) -> None:
    odd = f"FROM {_source(rows)} {_look_up(i)} WHERE c{i} IS NOT NULL AND path IS NULL"
    ((total,),) = connection.execute(f"SELECT count(*) {odd}").fetchall()
    first = connection.execute(
        f"SELECT file_row_number + 1 {odd} ORDER BY 1 LIMIT {MAX_PROBLEMS}"
    ).fetchall()
    message, column = "it names no picture of the archive", rows.names[i]
    rows.problems.add(
        [Problem(message, "unknown_picture", row=row, column=column) for (row,) in first], total
    )


def _list_wanted(connection: DuckDBPyConnection, rows: Staged, columns: Sequence[int]) -> set[str]:
    found: set[str] = set()
    for i in columns:
        query = f"SELECT DISTINCT path FROM {_source(rows)} {_look_up(i)} WHERE path IS NOT NULL"
        found.update(path for (path,) in connection.execute(query).fetchall())
    return found


def _join(
    connection: DuckDBPyConnection, rows: Staged, columns: Sequence[int], staged: Path
) -> Staged:
    kinds: list[ColumnKind | None] = list(rows.kinds)
    joins = []
    for i in columns:
        kinds[i] = "image"
        joins += [
            _look_up(i, f"k{i}"),
            f"LEFT JOIN pictures AS p{i} ON p{i}.picture.name = k{i}.path",
        ]
    cells = ", ".join(
        f"p{i}.picture AS c{i}" if i in columns else f"c{i}" for i in range(len(rows.names))
    )
    query = f"SELECT {cells} FROM {_source(rows)} {' '.join(joins)} ORDER BY file_row_number"
    copy_rows(connection, query, staged, len(rows.names))
    return replace(rows, path=staged, kinds=kinds)
