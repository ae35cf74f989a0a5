"""NumPy's archives of arrays."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.datasets import arrays
from tests.app.datasets.archives import make_npz, pixels_of
from tests.app.datasets.tables import column_of, kinds_of, problems_of, read_file, rows_of

RNG = np.random.default_rng(0)


def read(folder: Path, **columns: Any) -> dict[str, Any]:
    return read_file(folder, make_npz(**columns), "a.npz")


def pictures(*shape: int) -> Any:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def test_single_values_become_columns(tmp_path: Path) -> None:
    report = read(
        tmp_path,
        i=np.array([1, -2, 3], dtype=">i2"),
        f=np.array([0.5, np.nan, 2], dtype="f4"),
        b=np.array([True, False, True]),
        u=np.array(["x", "é", "x"]),
        s=np.array([b"1", "é".encode(), b""]),
        t=np.array(["2024-01-01", "NaT", "2024-01-02T03:04"], dtype="M8[m]"),
        column=np.array([[7], [8], [9]]),
    )
    assert report["format"] == "npz"
    assert kinds_of(report) == {
        "i": "number",
        "f": "number",
        "b": "boolean",
        "u": "category",
        "s": "category",
        "t": "time",
        "column": "number",
    }
    midnight, later = "2024-01-01T00:00:00.000000", "2024-01-02T03:04:00.000000"
    assert rows_of(tmp_path) == [
        (1.0, 0.5, "true", "x", "1", midnight, 7.0),
        (-2.0, None, "false", "é", "é", None, 8.0),
        (3.0, 2.0, "true", "x", "", later, 9.0),
    ]
    assert not (tmp_path / "pixels.bin").exists()


@pytest.mark.parametrize(
    ("shape", "planes"),
    [
        ((3, 4, 5), lambda x: x[:, None]),
        ((3, 4, 5, 1), lambda x: x.transpose(0, 3, 1, 2)),
        ((3, 4, 5, 3), lambda x: x.transpose(0, 3, 1, 2)),
        ((3, 1, 4, 5), lambda x: x),
        ((3, 3, 4, 5), lambda x: x),
    ],
)
def test_bytes_of_several_dimensions_are_pictures(
    tmp_path: Path, shape: tuple[int, ...], planes: Any
) -> None:
    x = pictures(*shape)
    report = read(tmp_path, x=x, y=np.arange(3))
    assert kinds_of(report) == {"x": "image", "y": "number"}
    for stored, expected in zip(pixels_of(tmp_path, "x"), planes(x), strict=True):
        assert stored is not None
        assert np.array_equal(stored, expected)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("shape", "width"), [((5, 7), 1), ((5, 7, 1), 1), ((5, 7, 2), 2)])
def test_other_numbers_are_sequences(
    tmp_path: Path, shape: tuple[int, ...], width: int, order: str
) -> None:
    x = RNG.normal(size=shape)
    report = read(tmp_path, x=np.asarray(x, order=order), n=np.arange(5) + 10)
    assert column_of(report, "x")["sequence"] == {"width": width, "steps_min": 7, "steps_max": 7}
    stored = np.array([row[0] for row in rows_of(tmp_path)])
    assert np.array_equal(stored, x.reshape(5, 7, width))
    assert [row[1] for row in rows_of(tmp_path)] == [10, 11, 12, 13, 14]


def test_rows_keep_their_order_over_many_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1 << 18)
    rows = 125_000  # more than a row group of the table
    series = np.arange(rows * 3, dtype=np.int32).reshape(rows, 3)
    read(tmp_path, x=np.zeros((rows, 1, 1), np.uint8), s=series, y=np.arange(rows) % 7)
    table = rows_of(tmp_path)
    assert [row[0]["start"] for row in table] == list(range(rows))
    assert [row[1] for row in table] == series[:, :, None].tolist()
    assert [row[2] for row in table] == (np.arange(rows) % 7).tolist()


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_x", "train_y", "test_x", "test_y"),
    ],
)
def test_parts_are_stacked(tmp_path: Path, names: tuple[str, ...]) -> None:
    x, y = pictures(5, 2, 2), np.arange(5)
    report = read(tmp_path, **dict(zip(names, (x[:3], y[:3], x[3:], y[3:]), strict=True)))
    assert kinds_of(report) == {"x": "image", "y": "number", "split": "category"}
    assert [row[1:] for row in rows_of(tmp_path)] == [
        (0, "train"),
        (1, "train"),
        (2, "train"),
        (3, "test"),
        (4, "test"),
    ]
    for stored, expected in zip(pixels_of(tmp_path, "x"), x, strict=True):
        assert stored is not None
        assert np.array_equal(stored[0], expected)


def test_parts_come_in_the_order_of_a_training(tmp_path: Path) -> None:
    read(tmp_path, y_test=np.arange(2), y_val=np.arange(3), y_train=np.arange(4))
    expected = ["train"] * 4 + ["validation"] * 3 + ["test"] * 2
    assert [row[1] for row in rows_of(tmp_path)] == expected


def test_names_that_do_not_pair_up_are_plain_columns(tmp_path: Path) -> None:
    report = read(tmp_path, x=np.arange(3), loss_test=np.arange(3))
    assert list(kinds_of(report)) == ["x", "loss_test"]


def test_large_pictures_are_scaled_down(tmp_path: Path) -> None:
    column = column_of(read(tmp_path, x=pictures(2, 20, 1024, 3)), "x")
    assert (column["image"]["height_max"], column["image"]["width_max"]) == (10, 512)


def test_the_preview_shows_the_first_steps(tmp_path: Path) -> None:
    read(tmp_path, s=np.arange(40).reshape(2, 20))
    (row, _) = (tmp_path / "preview.jsonl").read_text().splitlines()
    assert json.loads(row) == [[[float(i)] for i in range(8)]]


# ---------------------------------------------------------------- what is wrong


def test_numbers_that_are_not_finite_are_bad_rows(tmp_path: Path) -> None:
    series = np.zeros((5, 3))
    series[1, 2], series[4, 0] = np.nan, np.inf
    report = read(tmp_path, s=series, x=np.array([0, 1, 2, np.inf, 4]))
    assert problems_of(report) == [
        (2, "s", "not_finite"),
        (4, "x", "not_finite"),
        (5, "s", "not_finite"),
    ]


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.array([{}, 1], dtype=object), "Python objects"),
        (np.array(5), "without rows"),
        (np.zeros((2, 3, 4, 5)), "must be uint8"),
        (np.zeros((2, 2, 4, 5), np.uint8), "channels"),
        (np.zeros((2, 3, 3, 3, 3), np.uint8), "5 dimensions"),
        (np.zeros((2, 0, 3), np.uint8), "empty"),
        (np.zeros(2, dtype=complex), "complex128"),
        (np.zeros(2, dtype=[("a", "i4")]), "neither"),
        (np.array([b"\xff", b"x"]), "UTF-8"),
    ],
)
def test_an_array_that_is_no_column_is_named_with_the_reason(
    tmp_path: Path, array: Any, part: str
) -> None:
    report = read(tmp_path, odd=array)
    assert report["problem"] == "dataset-invalid"
    assert report["errors"][0]["loc"] == ["file", "odd"]
    assert part in report["message"]


def test_arrays_of_different_lengths_are_listed(tmp_path: Path) -> None:
    report = read(tmp_path, x=np.arange(4), y=np.arange(3))
    assert [error["message"] for error in report["errors"]] == ["it has 4 rows", "it has 3 rows"]


def test_a_header_that_lies_is_refused(tmp_path: Path) -> None:
    honest = io.BytesIO()
    np.lib.format.write_array(honest, np.arange(10))
    lie = honest.getvalue().replace(b"(10,)", b"(99,)")
    for content in (lie, honest.getvalue()[:-1], b"\x93NUMPY\x01\x00\x05\x00hello", b"?"):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as file:
            file.writestr("x.npy", content)
        assert read_file(tmp_path, out.getvalue(), "a.npz")["problem"] == "dataset-invalid"


def test_a_pickle_in_disguise_is_not_run(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("x.npy", b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert read_file(tmp_path, out.getvalue(), "a.npz")["problem"] == "dataset-invalid"
    assert not Path("pwned").exists()
