from pathlib import Path

import pytest

from tests.app.datasets.tables import column_of, kinds_of, problems_of, read_file, rows_of

# ---------------------------------------------------------------- what is read


def test_each_kind_is_told_from_the_cells(tmp_path: Path) -> None:
    text = "n,i,b,d,c,t\n" + "".join(
        f"{i}.5,{i},{'true' if i % 2 else 'False'},2024-01-{i + 1:02},{'ab'[i % 2]},{'x' * 70}{i}\n"
        for i in range(20)
    )
    report = read_file(tmp_path, text)
    assert report["rows"] == 20
    assert kinds_of(report) == {
        "n": "number",
        "i": "number",
        "b": "boolean",
        "d": "time",
        "c": "category",
        "t": "text",
    }
    assert column_of(report, "i")["integer"]
    assert not column_of(report, "n")["integer"]


def test_the_table_form_holds_doubles_text_and_null_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    read_file(tmp_path, "x,b,c\n2,TRUE,red\n,,\n1,false,None\nNaN,NA,?\n")
    assert rows_of(tmp_path) == [
        (2.0, "true", "red"),
        (None, None, None),
        (1.0, "false", None),
        (None, None, None),
    ]


def test_a_column_is_measured(tmp_path: Path) -> None:
    report = read_file(tmp_path, "x,c\n3,a\n,b\n1,a\n2,a\n")
    number, category = report["columns"]
    assert (number["missing"], number["first_missing_row"]) == (1, 2)
    assert (number["min"], number["max"], number["mean"]) == (1.0, 3.0, 2.0)
    assert number["values"] == [["1", 1], ["2", 1], ["3", 1]]
    assert category["values"] == [["a", 3], ["b", 1]]
    assert (category["distinct"], category["rarest"]) == (2, 1)


def test_a_column_without_a_value_counts_as_numbers(tmp_path: Path) -> None:
    report = read_file(tmp_path, "x,empty\n1,\n2,NA\n")
    assert kinds_of(report)["empty"] == "number"
    assert column_of(report, "empty")["missing"] == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = ["name;x", "a, b;1", "c, d;2", "e, f;3"] if delimiter == ";" else ["n,x", "a,1", "b,2"]
    text = "\n".join(rows if delimiter == ";" else [r.replace(",", delimiter) for r in rows])
    report = read_file(tmp_path, text)
    assert list(kinds_of(report).values()) == ["category", "number"]


def test_quotes_guard_delimiters_quotes_and_line_ends(tmp_path: Path) -> None:
    read_file(tmp_path, 'a,b\n"x,""y""",1\n"two\nlines",2\n')
    assert rows_of(tmp_path) == [('x,"y"', 1.0), ("two\nlines", 2.0)]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    assert list(kinds_of(read_file(tmp_path, "\ufeffx,y\n1,2\n3,4\n"))) == ["x", "y"]


def test_windows_line_ends_are_fine(tmp_path: Path) -> None:
    read_file(tmp_path, "x,y\r\n1,a\r\n2,b\r\n")
    assert rows_of(tmp_path) == [(1.0, "a"), (2.0, "b")]


def test_names_are_trimmed_and_never_run(tmp_path: Path) -> None:
    report = read_file(tmp_path, '__class__, =cmd|\' /C calc\'!A0,"say ""hi"""\n1,2,3\n4,5,6\n')
    assert list(kinds_of(report)) == ["__class__", "=cmd|' /C calc'!A0", 'say "hi"']


def test_many_columns_are_read(tmp_path: Path) -> None:
    header = ",".join(f"c{i}" for i in range(800))
    row = ",".join(str(i) for i in range(800))
    report = read_file(tmp_path, f"{header}\n{row}\n{row}\n")
    assert len(report["columns"]) == 800
    assert column_of(report, "c799")["max"] == 799.0


# ---------------------------------------------------------------- numbers and text


def test_a_few_cells_of_text_among_numbers_are_bad_rows(tmp_path: Path) -> None:
    report = read_file(tmp_path, "x,y\n1,1\noops,2\n3,3\n4,what\n")
    assert problems_of(report) == [(3, "x", "not_a_number"), (5, "y", "not_a_number")]
    assert "oops" not in str(report)


def test_much_text_among_numbers_makes_a_text_column(tmp_path: Path) -> None:
    """As in ticket numbers, of which some have letters."""
    tickets = [str(i) if i % 3 else f"A/{i}" for i in range(60)]
    report = read_file(tmp_path, "ticket,y\n" + "".join(f"{t},1\n" for t in tickets))
    assert kinds_of(report)["ticket"] in ("category", "text")


@pytest.mark.parametrize("cell", ["1e999", "-inf", "Infinity", "9" * 400])
def test_a_number_that_is_not_finite_is_a_bad_row(tmp_path: Path, cell: str) -> None:
    assert problems_of(read_file(tmp_path, f"x,y\n1,1\n{cell},2\n3,3\n")) == [
        (3, "x", "not_finite")
    ]


def test_python_style_digit_groups_are_not_numbers(tmp_path: Path) -> None:
    assert problems_of(read_file(tmp_path, "x,y\n1,1\n1_000,2\n3,3\n")) == [
        (3, "x", "not_a_number")
    ]


def test_any_spelling_of_nan_is_missing_in_a_column_of_numbers(tmp_path: Path) -> None:
    read_file(tmp_path, "x,y\n1,1\nNAN,2\nnan,3\n4,4\n")
    assert [x for x, _ in rows_of(tmp_path)] == [1.0, None, None, 4.0]


# ---------------------------------------------------------------- what is refused, by line


def test_every_bad_row_is_named_by_its_line(tmp_path: Path) -> None:
    text = 'x,y\n1,a\n2,b,c\n"3\n",d\n4\n5,e\noops,f\n\n6,"open"x\n7,g\n8,h\n'
    assert problems_of(read_file(tmp_path, text)) == [
        (3, "ragged_row"),
        (6, "ragged_row"),
        (8, "x", "not_a_number"),
        (10, "quoting"),
    ]


def test_a_thousand_bad_rows_are_counted_and_the_first_hundred_listed(tmp_path: Path) -> None:
    text = "x,y\n" + "".join("1,2,3\n" if i % 2 else "1,2\n" for i in range(2000))
    report = read_file(tmp_path, text)
    assert report["message"] == "The file has 1000 problems; the first 100 are listed."
    assert problems_of(report)[:2] == [(3, "ragged_row"), (5, "ragged_row")]
    assert len(report["errors"]) == 100


def test_bytes_that_are_not_utf8_are_named_with_the_fix(tmp_path: Path) -> None:
    report = read_file(tmp_path, b"text,y\na,1\nc\xe9,2\nb,3\n")
    assert problems_of(report) == [(3, "encoding")]
    assert "UTF-8" in report["errors"][0]["message"]


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("a,,c", "column_name"),
        ("a,b,A", "column_name"),
        ("1,2,3", "header"),
        ('a,"b\n",c', "column_name"),
    ],
)
def test_a_header_must_name_every_column_once(tmp_path: Path, header: str, kind: str) -> None:
    report = read_file(tmp_path, f"{header}\n4,5,6\n7,8,9\n")
    assert {error["type"] for error in report["errors"]} == {kind}


@pytest.mark.parametrize("text", ["", "\n\n", "x,y\n", "x,y\n1,2\n"])
def test_fewer_than_two_rows_are_not_enough(tmp_path: Path, text: str) -> None:
    assert read_file(tmp_path, text)["problem"] == "dataset-invalid"


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("text,label\na,0\nb,1\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04\x14\x00\x06\x00", "Excel"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "web page"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        (b"x,y\n1,\0\n", "not text"),
    ],
)
def test_what_is_no_csv_at_all_is_named(tmp_path: Path, content: bytes, hint: str) -> None:
    report = read_file(tmp_path, content)
    assert report["problem"] == "dataset-invalid"
    assert hint in report["message"]


def test_a_line_without_an_end_is_refused(tmp_path: Path) -> None:
    assert problems_of(read_file(tmp_path, b"x" * 16_000_000)) == [(1, "line_too_long")]
    report = read_file(tmp_path, b"x,y\n1,2\n" + b"x" * 3_000_000 + b",2\n3,4\n")
    assert problems_of(report) == [(3, "line_too_long")]


def test_two_kinds_of_line_end_are_refused_by_line(tmp_path: Path) -> None:
    assert problems_of(read_file(tmp_path, "x,y\n1,2\n3,4\r\n5,6\n")) == [(3, "line_end")]


def test_lines_are_right_far_into_a_large_file(tmp_path: Path) -> None:
    """Beyond the pieces in which the file is read in parallel."""
    good = '"two\nlines",1.5\n' * 100_000
    text = f"c,x\n{good}a,1,1\n{good}{good}b,oops\n{good}c\n"
    assert problems_of(read_file(tmp_path, text)) == [
        (200_002, "ragged_row"),
        (600_003, "x", "not_a_number"),
        (800_004, "ragged_row"),
    ]
