from pathlib import Path

import pytest

from tests.app.datasets.tables import kinds_of, problems_of, read_file, rows_of


def read(folder: Path, *lines: str) -> dict:
    return read_file(folder, "\n".join(lines) + "\n", "table.jsonl")


def test_keys_are_columns_and_what_is_left_out_is_missing(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        '{"x": 1, "b": true, "c": "red", "d": "2024-01-01"}',
        '{"c": "blue", "x": 2.5, "d": null}',
        '{"x": null, "b": false, "c": "red", "e": "late", "d": "2024-01-02T03:04:05Z"}',
    )
    assert kinds_of(report) == {
        "x": "number",
        "b": "boolean",
        "c": "category",
        "d": "time",
        "e": "category",
    }
    assert rows_of(tmp_path) == [
        (1.0, "true", "red", "2024-01-01", None),
        (2.5, None, "blue", None, None),
        (None, "false", "red", "2024-01-02T03:04:05Z", "late"),
    ]


def test_digits_in_quotes_stay_text(tmp_path: Path) -> None:
    report = read(tmp_path, '{"zip": "01234", "y": 1}', '{"zip": "NA", "y": 2}')
    assert kinds_of(report)["zip"] == "category"
    assert [zip for zip, _ in rows_of(tmp_path)] == ["01234", "NA"]


def test_keys_with_any_character_are_read(tmp_path: Path) -> None:
    report = read(tmp_path, *(f'{{"a/b~c.\\"d": {i}, "é ": {i}}}' for i in range(2)))
    assert list(kinds_of(report)) == ['a/b~c."d', "é "]
    assert rows_of(tmp_path)[1] == (1.0, 1.0)


def test_every_line_that_is_not_a_flat_object_is_named(tmp_path: Path) -> None:
    report = read(
        tmp_path, '{"x": 1}', "", '{"x": ', "[1]", "3", '{"x": 1} {"x": 2}', '{"x": 1, "x": 2}'
    )
    assert problems_of(report) == [
        (3, "json"),
        (4, "json"),
        (5, "json"),
        (6, "json"),
        (7, "duplicate_key"),
    ]


@pytest.mark.parametrize("cell", ["NaN", "Infinity", "-Infinity", "nan", "1,"])
def test_what_is_not_strict_json_is_a_bad_row(tmp_path: Path, cell: str) -> None:
    assert problems_of(read(tmp_path, '{"x": 1}', f'{{"x": {cell}}}', '{"x": 3}')) == [(2, "json")]


def test_words_like_nan_are_fine_inside_text(tmp_path: Path) -> None:
    read(tmp_path, '{"t": "NaN, }", "y": 1}', '{"t": "Infinity,]", "y": 2}')
    assert [text for text, _ in rows_of(tmp_path)] == ["NaN, }", "Infinity,]"]


def test_nested_and_mixed_cells_name_line_and_column(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        '{"x": 1, "c": "a"}',
        '{"x": "1", "c": "b"}',
        '{"x": 2, "c": ["b"]}',
        '{"x": {"y": 1}, "c": "a"}',
        '{"x": 1e999, "c": "a"}',
    )
    assert problems_of(report) == [
        (2, "x", "mixed_column"),
        (3, "c", "nested"),
        (4, "x", "nested"),
        (5, "x", "not_finite"),
    ]


def test_a_nul_character_is_refused(tmp_path: Path) -> None:
    report = read(tmp_path, '{"t": "a"}', '{"t": "b\\u0000"}')
    assert problems_of(report) == [(2, "t", "nul_character")]


def test_an_array_document_is_refused_with_the_fix(tmp_path: Path) -> None:
    report = read_file(tmp_path, '[{"x": 1}, {"x": 2}]', "table.json")
    assert "one object per line" in report["message"]


def test_deep_nesting_breaks_nothing(tmp_path: Path) -> None:
    report = read(tmp_path, '{"a":' * 5000 + "1" + "}" * 5000, '{"a": 1}')
    assert report["problem"] == "dataset-invalid"
