"""Archives of pictures: by class folder, and with a table that names them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.datasets import pixels
from tests.app.datasets.archives import encode, make_picture, make_tar, make_zip, pixels_of
from tests.app.datasets.tables import column_of, kinds_of, read_file, rows_of

RED = make_picture((255, 0, 0))
GREY = make_picture(7, mode="L")


def read(folder: Path, files: dict[str, bytes], filename: str = "a.zip") -> dict[str, Any]:
    return read_file(folder, make_zip(files), filename)


def places_of(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is wrong and where: the path and the type."""
    assert report.get("problem") == "dataset-invalid", report
    return [(*error["loc"][1:], error["type"]) for error in report["errors"]]


# ---------------------------------------------------------------- class folders


def test_folders_are_classes(tmp_path: Path) -> None:
    report = read(tmp_path, {"cat/1.png": RED, "dog/2.png": GREY, "cat/3.png": GREY})
    assert (report["format"], report["rows"]) == ("images", 3)
    assert kinds_of(report) == {"image": "image", "label": "category"}
    assert [row[1] for row in rows_of(tmp_path)] == ["cat", "dog", "cat"]
    first, second, _ = pixels_of(tmp_path)
    assert first is not None
    assert second is not None
    assert first.shape == (3, 2, 3)
    assert first[:, 0, 0].tolist() == [255, 0, 0]
    assert second.shape == (1, 2, 3)
    assert (second == 7).all()


def test_the_facts_of_pictures_are_measured(tmp_path: Path) -> None:
    sizes = [(5, 9), (4, 3)]
    files = {f"a/{i}.png": make_picture(0, size, "L") for i, size in enumerate(sizes)}
    column = column_of(read(tmp_path, files), "image")
    facts = {"channels": 1, "height_min": 3, "height_max": 9, "width_min": 4, "width_max": 5}
    assert column["image"] == facts
    assert (column["distinct"], column["missing"]) == (2, 0)


def test_a_column_with_one_colour_picture_has_three_channels(tmp_path: Path) -> None:
    column = column_of(read(tmp_path, {"a/1.png": GREY, "a/2.png": RED}), "image")
    assert column["image"]["channels"] == 3


@pytest.mark.parametrize("root", ["", "data/", "data/all/"])
def test_folders_around_everything_are_looked_through(tmp_path: Path, root: str) -> None:
    read(tmp_path, {f"{root}cat/1.png": RED, f"{root}dog/2.png": RED})
    assert [row[1] for row in rows_of(tmp_path)] == ["cat", "dog"]


def test_outer_folders_may_divide_the_data(tmp_path: Path) -> None:
    parts = {"train": "train", "Val": "validation", "test": "test"}
    files = {f"x/{part}/{label}/1.png": RED for part in parts for label in "ab"}
    report = read(tmp_path, files)
    assert kinds_of(report)["split"] == "category"
    expected = [(label, part) for part in parts.values() for label in "ab"]
    assert [row[1:] for row in rows_of(tmp_path)] == expected


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    report = read(tmp_path, {"train/1.png": RED, "test/2.png": RED})
    assert "split" not in kinds_of(report)
    assert [row[1] for row in rows_of(tmp_path)] == ["train", "test"]


def test_a_class_named_by_a_number_stays_a_word(tmp_path: Path) -> None:
    report = read(tmp_path, {"01/1.png": RED, "1/2.png": RED})
    assert column_of(report, "label")["values"] == [["01", 1], ["1", 1]]


def test_pictures_outside_of_class_folders_are_named(tmp_path: Path) -> None:
    files = {"1.png": RED, "cat/2.png": RED, "cat/kitten/3.png": RED}
    assert places_of(read(tmp_path, files)) == [("1.png", "place"), ("cat/kitten/3.png", "place")]


def test_what_systems_leave_behind_is_skipped(tmp_path: Path) -> None:
    litter = ["__MACOSX/a/._1.png", "a/.DS_Store", "b/Thumbs.db", ".git/config", "desktop.ini"]
    files = {"a/1.png": RED, "b/2.png": RED, **dict.fromkeys(litter, b"?")}
    assert read(tmp_path, files)["rows"] == 2


def test_every_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    files = {
        "a/1.png": RED,
        "a/empty.png": b"",
        "a/cut.png": RED[:40],
        "a/page.png": b"<html><script>alert(1)</script></html>",
        "a/drawing.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        "b/notes.txt": b"hello",
        "b/inner.zip": make_zip({"a/1.png": RED}),
    }
    report = read(tmp_path, files)
    assert places_of(report) == [
        (name, "picture") for name in sorted(files)[1:] if name != "a/1.png"
    ]
    messages = {error["loc"][1]: error["message"] for error in report["errors"]}
    assert "empty" in messages["a/empty.png"]
    assert "EPS" in messages["a/drawing.eps"]


def test_a_hundred_bad_pictures_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    report = read(tmp_path, {f"a/{i}.png": b"?" for i in range(130)})
    assert len(report["errors"]) == 100
    assert "130 problems" in report["message"]


# ---------------------------------------------------------------- archives


@pytest.mark.parametrize(
    ("mode", "filename"), [("w", "a.tar"), ("w:gz", "a.tar.gz"), ("w:gz", "a.tgz")]
)
def test_a_tar_reads_like_a_zip(tmp_path: Path, mode: str, filename: str) -> None:
    files = {"cat/1.png": RED, "dog/2.png": GREY}
    report = read_file(tmp_path / "tar", make_tar(files, mode), filename)
    assert report == read(tmp_path / "zip", files)
    assert rows_of(tmp_path / "tar") == rows_of(tmp_path / "zip")


def test_the_same_archive_gives_the_same_bytes(tmp_path: Path) -> None:
    files = {f"{i % 3}/{i}.jpg": make_picture((i, 2, 3), (9, 9), format="JPEG") for i in range(9)}
    for folder in ("a", "b"):
        read(tmp_path / folder, files)
    for name in ("table.parquet", "pixels.bin", "preview.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# ---------------------------------------------------------------- a table beside them


def test_a_table_names_the_pictures(tmp_path: Path) -> None:
    files = {
        "set/images/1.png": RED,
        "set/images/2.png": GREY,
        "set/images/3.png": GREY,
        "set/labels.csv": b"file,age\n./images/2.png,1.5\nimages\\1.png,2.5\n,3\n1.png,4\n",
    }
    report = read(tmp_path, files)
    assert kinds_of(report) == {"file": "image", "age": "number"}
    column = column_of(report, "file")
    assert (column["missing"], column["first_missing_row"], column["distinct"]) == (1, 3, 3)
    shapes = [None if p is None else p.shape for p in pixels_of(tmp_path, "file")]
    assert shapes == [(1, 2, 3), (3, 2, 3), None, (3, 2, 3)]
    assert [row[1] for row in rows_of(tmp_path)] == [1.5, 2.5, 3.0, 4.0]
    assert (tmp_path / "pixels.bin").stat().st_size == 18 + 6  # the third is named by no row


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("t.tsv", b"x\tf\n1\ta.png\n2\tb.png\n"),
        ("t.jsonl", b'{"x": 1, "f": "a.png"}\n{"x": 2, "f": "b.png"}\n'),
    ],
)
def test_the_table_may_be_of_any_format(tmp_path: Path, name: str, table: bytes) -> None:
    report = read(tmp_path, {"p/a.png": RED, "p/b.png": GREY, name: table})
    assert kinds_of(report) == {"x": "number", "f": "image"}


def test_several_columns_may_name_pictures(tmp_path: Path) -> None:
    table = b"left,right,same\na.png,b.png,yes\nb.png,a.png,no\n"
    report = read(tmp_path, {"a.png": RED, "b.png": GREY, "pairs.csv": table})
    assert kinds_of(report) == {"left": "image", "right": "image", "same": "category"}
    assert [p.shape[0] for p in pixels_of(tmp_path, "right") if p is not None] == [1, 3]


def test_rows_that_name_no_picture_are_bad_rows(tmp_path: Path) -> None:
    table = b"f,y\na.png,1\n\nb.png,2\nc.png,3\n"
    report = read(tmp_path, {"a.png": RED, "b.png": GREY, "t.csv": table})
    assert places_of(report) == [("t.csv", 5, "f", "unknown_picture")]


def test_a_table_with_bad_rows_is_refused_by_its_lines(tmp_path: Path) -> None:
    report = read(tmp_path, {"a.png": RED, "t.csv": b"f,y\na.png,1\na.png,1,2\n"})
    assert places_of(report) == [("t.csv", 3, "ragged_row")]


def test_a_bad_picture_beside_a_table_is_named(tmp_path: Path) -> None:
    report = read(tmp_path, {"a.png": RED, "b.png": b"?", "t.csv": b"f\na.png\nb.png\n"})
    assert places_of(report) == [("b.png", "picture")]


def test_a_table_that_names_no_picture_is_refused(tmp_path: Path) -> None:
    report = read(tmp_path, {"a.png": RED, "t.csv": b"x,y\n1,u\n2,v\n"})
    assert "No column of t.csv" in report["message"]
    assert "a.png" in report["message"]


def test_two_tables_or_no_pictures_are_refused(tmp_path: Path) -> None:
    table = b"f\na.png\nb.png\n"
    report = read(tmp_path, {"a.png": RED, "b.png": RED, "t.csv": table, "u.csv": table})
    assert places_of(report) == [("u.csv", "table")]
    assert "no pictures" in read(tmp_path, {"t.csv": table})["message"]


def test_a_disk_without_room_for_the_pixels_is_said_to_be_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda _: usage)
    assert read(tmp_path, {"a/1.png": RED, "b/2.png": RED})["problem"] == "insufficient-storage"


# ---------------------------------------------------------------- the preview


def test_the_preview_shows_names_and_sizes(tmp_path: Path) -> None:
    read(tmp_path, {"cat/1.png": RED, "dog/2.png": GREY})
    rows = [json.loads(line) for line in (tmp_path / "preview.jsonl").read_text().splitlines()]
    assert rows == [
        [{"name": "cat/1.png", "height": 2, "width": 3, "channels": 3, "start": 0}, "cat"],
        [{"name": "dog/2.png", "height": 2, "width": 3, "channels": 1, "start": 18}, "dog"],
    ]


def test_an_excel_file_is_not_taken_for_pictures(tmp_path: Path) -> None:
    report = read(tmp_path, {"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}, "a.xlsx")
    assert "Excel" in report["message"]


def test_a_gradient_survives_pixel_by_pixel(tmp_path: Path) -> None:
    gradient = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    read(tmp_path, {"a/1.png": encode(Image.fromarray(gradient)), "b/2.png": RED})
    stored = pixels_of(tmp_path)[0]
    assert stored is not None
    assert np.array_equal(stored, gradient.transpose(2, 0, 1))
