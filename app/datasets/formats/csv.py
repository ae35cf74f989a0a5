"""CSV (RFC 4180) in UTF-8 with a header; cells parted by a comma, semicolon, tab or bar."""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import duckdb
from duckdb import DuckDBPyConnection

from app.datasets.staging import (
    CHUNK_BYTES,
    MAX_LINE_BYTES,
    Problem,
    Rejected,
    Staged,
    check_names,
    copy_rows,
    quote_text,
    read_rejects,
)

SUFFIXES = (".csv", ".data")
DELIMITERS = ",;\t|"
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?")
SAMPLE_RECORDS = 100
NOT_TEXT = {
    b"PK\x03\x04": "This is an Excel or zip file. Export the sheet as CSV.",
    b"\xd0\xcf\x11\xe0": "This is an old Excel file. Export the sheet as CSV.",
    b"PAR1": "This is a Parquet file. Send it with format=parquet.",
    b"\x1f\x8b": "This file is compressed. Unpack it first.",
    b"%PDF": "This is a PDF file, not a table.",
    b"\xff\xfe": "This file is in UTF-16. Save it as UTF-8.",
    b"\xfe\xff": "This file is in UTF-16. Save it as UTF-8.",
}


def looks_like(_head: bytes, _names: Sequence[str]) -> bool:
    return False  # anything might be CSV


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    return read_delimited(connection, original, staged, DELIMITERS)


def read_delimited(
    connection: DuckDBPyConnection, original: Path, staged: Path, delimiters: str
) -> Staged:
    """A table of text, its cells parted by whichever of `delimiters` splits its rows alike."""
    head = read_head(original)
    refuse_other_files(head)
    delimiter, names = _read_header(head, delimiters)
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
    missing = ", ".join(quote_text(text) for text in MISSING)
    query = (
        f"SELECT * FROM read_csv({quote_text(original)}, auto_detect=false, header=true,"
        f" delim={quote_text(delimiter)}, quote='\"', escape='\"', columns={{{columns}}},"
        f" nullstr=[{missing}], max_line_size={MAX_LINE_BYTES}, store_rejects=true,"
        " rejects_limit=0)"
    )
    try:
        copy_rows(connection, query, staged, len(names))
    except duckdb.InvalidInputException as error:
        raise _explain(original, error) from error
    problems = read_rejects(connection, original)
    rejected = frozenset(problem.line for problem in problems.first)
    find = partial(_find_lines, original, delimiter, len(names), rejected)
    return Staged(staged, names, [None] * len(names), problems, find)


def read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_LINE_BYTES + 1).removeprefix(b"\xef\xbb\xbf")


def refuse_other_files(head: bytes) -> None:
    for signature, message in NOT_TEXT.items():
        if head.startswith(signature):
            raise Rejected(message)
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise Rejected("This is a web page, not a table. Was it saved from a login page?")
    if b"\0" in head[:4096]:
        raise Rejected("This file is not text in UTF-8.")
    if not head.strip():
        raise Rejected("The file is empty.")


def _read_header(head: bytes, delimiters: str) -> tuple[str, list[str]]:
    """The delimiter that splits the first records alike, and the names it gives."""
    if len(head) > MAX_LINE_BYTES and b"\n" not in head and b"\r" not in head:
        problem = Problem(f"longer than {MAX_LINE_BYTES} bytes", "line_too_long", line=1)
        raise Rejected("The header line has no end.", problem)
    first = head.splitlines()[0]
    try:
        first.decode()
    except UnicodeDecodeError as error:
        problem = Problem("not UTF-8: save the file as UTF-8", "encoding", line=1)
        raise Rejected("The file is not in UTF-8.", problem) from error
    lines = list(io.StringIO(head[:CHUNK_BYTES].decode(errors="replace"), newline=""))
    delimiter = max(delimiters, key=partial(_score, lines))
    names = [name.strip(" ") for name in next(csv.reader(lines, delimiter=delimiter), [])]
    check_names(names, line=1)
    if all(_is_number(name) for name in names):
        problem = Problem("every name is a number: is the header missing?", "header", line=1)
        raise Rejected("The first line must name the columns.", problem)
    return delimiter, names


def _score(lines: list[str], delimiter: str) -> tuple[int, int]:
    """How many records are as wide as the header, and how wide. One cell tells nothing."""
    reader = csv.reader(lines, delimiter=delimiter)
    widths = [len(record) for record in islice(_records(reader), SAMPLE_RECORDS)]
    width = widths[0] if widths else 0
    return (Counter(widths)[width], width) if width > 1 else (0, 0)


def _records(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    try:
        yield from (record for record in reader if record)
    except csv.Error:
        return


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _explain(original: Path, error: Exception) -> Rejected:
    """DuckDB names no line here. The usual cause is a file with two kinds of line end."""
    line, ending, quoted = 0, None, False
    with original.open("rb") as file:
        for line, text in enumerate(file, 1):
            quoted ^= text.count(b'"') % 2 == 1
            own = b"\r\n" if text.endswith(b"\r\n") else b"\n"
            if (not quoted and ending not in (None, own)) or b"\r" in text.rstrip(b"\r\n"):
                problem = Problem("ends unlike the lines before it", "line_end", line=line)
                return Rejected("The lines end in different ways. Use one line end.", problem)
            ending = ending or own
    return Rejected(f"The file is not CSV: {str(error).splitlines()[0][:200]}")


def _find_lines(
    original: Path, delimiter: str, width: int, rejected: frozenset[int | None], rows: list[int]
) -> list[int]:
    """Rows are the records that were not rejected; a record may span lines."""
    wanted, lines, row, start = iter(rows), [], 0, 1
    next_row = next(wanted, None)
    csv.field_size_limit(2**31 - 1)
    with original.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for number, record in enumerate(reader):
            line, start = start, reader.line_num + 1
            if number == 0 or line in rejected or (not record and width > 1):
                continue
            row += 1
            while next_row == row:
                lines.append(line)
                next_row = next(wanted, None)
            if next_row is None:
                break
    return lines + [start] * (len(rows) - len(lines))
