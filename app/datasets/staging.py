"""What reading an upload yields: rows as text or typed cells in a Parquet file, or problems.

Runs in the sandboxed child (`inspect.py`) only.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

from duckdb import DuckDBPyConnection

from app.errors import FieldError, field_error
from app.specs.data import ColumnKind

MAX_COLUMNS = 10_001  # as many inputs as a spec may list, and a target
MAX_LINE_BYTES = 2_000_000
MAX_PROBLEMS = 100
CELLS_PER_GROUP = 4_000_000
BYTES_PER_GROUP = 64 * 2**20
CHUNK_BYTES = 2**20
# A table may be this much larger than its file: a small file can unfold to any size.
MAX_RATIO = 100
ALWAYS_ALLOWED_BYTES = 256 * 2**20
MAX_SHOWN = 64  # characters of a name


@dataclass(frozen=True)
class Problem:
    """`row` counts data rows from 1 where only a row is known; `line` counts lines of the file.

    `member` is a file inside the uploaded archive.
    """

    message: str
    type: str
    line: int | None = None
    row: int | None = None
    column: str | None = None
    member: str | None = None

    def describe(self) -> FieldError:
        member, column = self.member and show_path(self.member), self.column
        parts = (member, self.line, column and column[:MAX_SHOWN])
        place = [part for part in parts if part is not None]
        return field_error(["file", *place], self.message, self.type)


def show_path(path: str) -> str:
    """Its end, which tells it from others, without what a terminal would obey."""
    safe = "".join(char if char.isprintable() else "\ufffd" for char in path)
    return safe if len(safe) <= MAX_SHOWN else f"…{safe[1 - MAX_SHOWN :]}"


@dataclass
class Problems:
    """The first hundred, and how many there are."""

    total: int = 0
    first: list[Problem] = field(default_factory=list)

    def add(self, problems: Sequence[Problem], total: int | None = None) -> None:
        self.total += len(problems) if total is None else total
        self.first = sorted([*self.first, *problems], key=_place)[: 2 * MAX_PROBLEMS]


def _place(problem: Problem) -> tuple[int, int]:
    return problem.line or 0, problem.row or 0


class Rejected(Exception):
    """The file cannot be read as a table. `problem` is the kind of answer the client gets."""

    def __init__(self, message: str, *problems: Problem, kind: str = "dataset-invalid") -> None:
        super().__init__(message)
        self.problems = problems
        self.kind = kind


@dataclass
class Staged:
    """The rows of a file in order, in the Parquet file `path` with columns `c0`, `c1`, ...

    A missing cell is NULL. `kinds` holds None where the cells are text that may mean anything,
    and "text" where they are text that may still be categories or times.
    `find_lines` turns rising row numbers (from 1) into line numbers, of `member` where the table
    is a file of an archive.
    """

    path: Path
    names: list[str]
    kinds: Sequence[ColumnKind | None]
    problems: Problems
    find_lines: Callable[[list[int]], list[int]]
    member: str | None = None


def allowed_bytes(size_bytes: int) -> int:
    """What a file of this size may unfold to."""
    return max(ALWAYS_ALLOWED_BYTES, MAX_RATIO * size_bytes)


def batch_columns(count: int) -> Iterator[range]:
    """Which columns to ask about together. A query takes time for every column of the table and
    for the square of those it asks about."""
    size = max(25, isqrt(count))
    for start in range(0, count, size):
        yield range(start, min(start + size, count))


def quote_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str | Path) -> str:
    return "'" + str(text).replace("'", "''") + "'"


def check_names(names: Sequence[str], line: int | None = None) -> None:
    """Every column has a name of its own; DuckDB does not tell `a` from `A`."""
    problems = [
        Problem(message, "column_name", line=line, column=name if name.isprintable() else None)
        for name, message in _find_bad_names(names)
    ]
    if problems:
        raise Rejected("The column names are not usable.", *problems)


def _find_bad_names(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not names:
        yield "", "there are no columns"
    if len(names) > MAX_COLUMNS:
        yield "", f"there are {len(names)} columns; at most {MAX_COLUMNS} are allowed"
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        if not name.strip():
            yield "", f"column {number} has no name"
        elif re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", name):
            yield "", f"the name of column {number} has control characters"
        elif len(name) > 256:
            yield name, f"the name of column {number} is longer than 256 characters"
        elif name.casefold() in seen:
            yield name, "this name is used twice (letter case does not count)"
        seen.add(name.casefold())


def copy_rows(connection: DuckDBPyConnection, query: str, path: Path, columns: int) -> None:
    """Write the rows of `query` in order. Row groups are small enough to be built in memory."""
    rows = max(2048, min(122_880, CELLS_PER_GROUP // columns))
    connection.execute(
        f"COPY ({query}) TO {quote_text(path)}"
        f" (FORMAT parquet, COMPRESSION snappy, ROW_GROUP_SIZE {rows})"
    )


def count_lines_before(path: Path, offsets: list[int]) -> list[int]:
    """The line numbers, from 1, of the rows at rising `offsets`; blank lines may lead a row."""
    lines, line, position = [], 1, 0
    with path.open("rb") as file:
        for offset in offsets:
            while position < offset:
                chunk = file.read(min(CHUNK_BYTES, offset - position))
                if not chunk:
                    break
                line += chunk.count(b"\n")
                position += len(chunk)
            ahead = file.peek(CHUNK_BYTES)
            blank = len(ahead) - len(ahead.lstrip(b"\r\n"))
            lines.append(line + ahead[:blank].count(b"\n"))
    return lines


def read_lines(connection: DuckDBPyConnection, original: Path, lines: Path) -> Problems:
    """Write the lines that are not blank as rows of one column, `line`. None is cut at a comma or a
    quote, only at a character (U+0001) that text does not hold."""
    query = (
        f"SELECT line FROM read_csv({quote_text(original)}, auto_detect=false, header=false,"
        f" delim='\x01', quote='', escape='', columns={{'line': 'VARCHAR'}}, strict_mode=false,"
        f" max_line_size={MAX_LINE_BYTES}, store_rejects=true, rejects_limit=0)"
        " WHERE trim(line, ' \t\r') <> ''"
    )
    copy_rows(connection, query, lines, 1)
    return read_rejects(connection, original)


def find_full_lines(path: Path, rows: list[int]) -> list[int]:
    """The lines of rows that `read_lines` has made."""
    wanted, lines, row = iter(rows), [], 0
    next_row = next(wanted, None)
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            row += bool(text.removeprefix(b"\xef\xbb\xbf").strip())
            while next_row == row:
                lines.append(line)
                next_row = next(wanted, None)
            if next_row is None:
                break
    return lines + [row] * (len(rows) - len(lines))


def read_rejects(connection: DuckDBPyConnection, path: Path) -> Problems:
    """What `store_rejects` has noted of `path`, by line of the file."""
    total = connection.execute("SELECT count(*) FROM reject_errors").fetchall()[0][0]
    rows = connection.execute(
        "SELECT line_byte_position, error_type, error_message FROM reject_errors"
        f" ORDER BY line_byte_position LIMIT {MAX_PROBLEMS}"
    ).fetchall()
    # The positions count from 1.
    lines = count_lines_before(path, [max(0, (position or 1) - 1) for position, _, _ in rows])
    problems = Problems()
    problems.add(
        [
            Problem(*_explain(kind, message), line=line)
            for line, (_, kind, message) in zip(lines, rows, strict=True)
        ],
        total,
    )
    return problems


def _explain(kind: str, message: str) -> tuple[str, str]:
    match kind:
        case "TOO MANY COLUMNS" | "MISSING COLUMNS":
            numbers = re.findall(r"\d+", message)
            return f"{numbers[1]} cells where the header has {numbers[0]}", "ragged_row"
        case "INVALID ENCODING":
            return "not UTF-8: save the file as UTF-8", "encoding"
        case "LINE SIZE OVER MAXIMUM":
            return f"longer than {MAX_LINE_BYTES} bytes", "line_too_long"
        case "UNQUOTED VALUE":
            return 'a quote (") is not closed or not doubled', "quoting"
    return "cannot be parsed", "row"
