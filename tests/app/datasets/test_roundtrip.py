"""Whatever Python's own writers write is read back cell by cell, in order."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.datasets.tables import read_file, rows_of

# A letter in front keeps a cell from being a number, a date or a missing value.
words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8
).map("a{}".format)
numbers = st.floats(allow_nan=False, allow_infinity=False)
cells = st.lists(st.tuples(words, numbers | st.none()), min_size=2, max_size=30)


@given(rows=cells, delimiter=st.sampled_from(",;\t|"))
@settings(max_examples=25, deadline=None)
def test_csv_comes_back(rows: list[tuple[str, float | None]], delimiter: str) -> None:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["text", "number"])
    writer.writerows((text, "" if number is None else repr(number)) for text, number in rows)
    check(file.getvalue(), "t.csv", rows)


@given(rows=cells)
@settings(max_examples=25, deadline=None)
def test_json_lines_come_back(rows: list[tuple[str, float | None]]) -> None:
    lines = [json.dumps({"text": text, "number": number}) for text, number in rows]
    check("\n".join(lines), "t.jsonl", rows)


def check(text: str, filename: str, rows: list[tuple[str, float | None]]) -> None:
    with TemporaryDirectory() as folder:
        report = read_file(Path(folder), text, filename)
        assert report.get("rows") == len(rows), report
        assert rows_of(Path(folder)) == rows
