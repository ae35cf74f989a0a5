"""Plain text, and tables parted by tabs."""

from pathlib import Path

import pytest

from tests.app.datasets.tables import kinds_of, problems_of, read_file, rows_of


def test_every_line_is_a_row(tmp_path: Path) -> None:
    content = 'To be, or "not" to be;\r\n\r\n \t\n  that\tis | the question  \r\n\u00e9\u4e2d\r\n'
    report = read_file(tmp_path, "\ufeff" + content.replace("\r\n", "\n"), "hamlet.txt")
    assert (report["format"], report["rows"]) == ("text", 3)
    assert list(kinds_of(report)) == ["text"]
    assert rows_of(tmp_path) == [
        ('To be, or "not" to be;',),
        ("that\tis | the question",),
        ("\u00e9\u4e2d",),
    ]


def test_lines_of_windows_are_the_same_lines(tmp_path: Path) -> None:
    read_file(tmp_path, "one\r\ntwo\r\n", "a.txt")
    assert rows_of(tmp_path) == [("one",), ("two",)]


def test_numbers_in_plain_text_are_text(tmp_path: Path) -> None:
    report = read_file(tmp_path, "1\n2\n3\n", "a.txt")
    assert kinds_of(report)["text"] in ("text", "category")


def test_text_that_is_not_utf8_is_named_by_its_line(tmp_path: Path) -> None:
    report = read_file(tmp_path, b"fine\ncaf\xe9\nfine\n", "a.txt")
    assert problems_of(report) == [(2, "encoding")]


@pytest.mark.parametrize("content", [b" \n" * 100, b"", b"\x00\x01\x02\x03\xff", b"\xff\xfea\x00"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    assert read_file(tmp_path, content, "a.txt")["problem"] == "dataset-invalid"


def test_commas_are_text_between_tabs(tmp_path: Path) -> None:
    report = read_file(tmp_path, "a,b\tx\n1,2\t3\n1,5\t4\n", "t.tsv")
    assert (report["format"], kinds_of(report)) == ("tsv", {"a,b": "category", "x": "number"})
    assert rows_of(tmp_path)[0] == ("1,2", 3.0)


def test_a_csv_called_tsv_is_said_to_be_one(tmp_path: Path) -> None:
    report = read_file(tmp_path, "a,b\n1,2\n3,4\n", "t.tsv")
    assert "CSV" in report["message"]


def test_ragged_rows_of_a_tsv_are_named(tmp_path: Path) -> None:
    report = read_file(tmp_path, "a\tb\n1\t2\n1\t2\t3\n4\t5\n", "t.tab")
    assert problems_of(report) == [(3, "ragged_row")]
