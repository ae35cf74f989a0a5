"""IDX, as MNIST is handed out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.datasets import staging
from tests.app.datasets.archives import make_idx, make_tar, make_zip, pixels_of
from tests.app.datasets.tables import column_of, kinds_of, read_file, rows_of

IMAGES = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([3, 1, 4, 1, 5, 9], dtype=np.uint8)


def pair(prefix: str = "train", rows: int = 6, *, packed: bool = True) -> dict[str, bytes]:
    end = ".gz" if packed else ""
    return {
        f"{prefix}-images-idx3-ubyte{end}": make_idx(IMAGES[:rows], packed=packed),
        f"{prefix}-labels-idx1-ubyte{end}": make_idx(LABELS[:rows], packed=packed),
    }


def read(folder: Path, files: dict[str, bytes], filename: str = "mnist.zip") -> dict[str, Any]:
    return read_file(folder, make_zip(files), filename)


def check_pictures(folder: Path, expected: NDArray[np.uint8]) -> None:
    """`expected` is (N, C, H, W)."""
    stored = pixels_of(folder)
    assert len(stored) == len(expected)
    for own, wanted in zip(stored, expected, strict=True):
        assert own is not None
        assert np.array_equal(own, wanted)


@pytest.mark.parametrize("packed", [True, False])
def test_a_pair_becomes_pictures_and_labels(tmp_path: Path, packed: bool) -> None:
    report = read(tmp_path, pair(packed=packed))
    assert (report["format"], report["rows"]) == ("idx", 6)
    assert kinds_of(report) == {"image": "image", "label": "number"}
    assert [row[1] for row in rows_of(tmp_path)] == LABELS.tolist()
    check_pictures(tmp_path, IMAGES[:, None])


def test_a_tar_of_a_pair_reads_like_a_zip(tmp_path: Path) -> None:
    report = read_file(tmp_path, make_tar(pair(), "w:gz"), "mnist.tar.gz")
    assert report["format"] == "idx"
    check_pictures(tmp_path, IMAGES[:, None])


def test_two_pairs_are_divided_by_their_names(tmp_path: Path) -> None:
    report = read(tmp_path, {**pair("t10k", 2), **pair("train", 4)})
    assert column_of(report, "split")["values"] == [["train", 4], ["test", 2]]
    rows = [(label, split) for _, label, split in rows_of(tmp_path)]
    labels = LABELS.tolist()
    assert rows == [(y, "train") for y in labels[:4]] + [(y, "test") for y in labels[:2]]
    check_pictures(tmp_path, np.concatenate([IMAGES[:4], IMAGES[:2]])[:, None])


def test_pictures_may_have_colours(tmp_path: Path) -> None:
    colour = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    labels = make_idx(np.array([0, 1], ">i4"))
    read(tmp_path, {"a.idx4": make_idx(colour), "b.idx1": labels})
    check_pictures(tmp_path, colour.transpose(0, 3, 1, 2))


def test_one_file_of_a_dataset_is_refused(tmp_path: Path) -> None:
    for name, content in pair().items():
        assert "one zip" in read_file(tmp_path, content, name)["message"]


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({"images-idx3-ubyte": make_idx(IMAGES)}, "1 and 0"),
        ({"a-idx1-ubyte": make_idx(LABELS), "b-idx1-ubyte": make_idx(LABELS)}, "0 and 2"),
        ({**pair(), **{"t10k-images-idx3-ubyte": make_idx(IMAGES)}}, "test"),
        ({**pair(), "train-x-idx2-ubyte": make_idx(IMAGES[0])}, "two dimensions"),
        ({**pair(), "README.md": b"hello"}, "not IDX"),
        ({**pair(), "train-images-idx3-ubyte.gz": make_idx(IMAGES[:5])}, "one length"),
        ({**pair(), "train-images-idx3-ubyte.gz": make_idx(IMAGES)[:-1]}, "cut short"),
        ({**pair(), "train-images-idx3-ubyte.gz": make_idx(IMAGES) + b"?"}, "more bytes"),
        ({**pair(), "train-labels-idx1-ubyte.gz": pair()["train-labels-idx1-ubyte.gz"][:-5]}, ""),
    ],
)
def test_what_is_no_pair_is_refused_with_the_reason(
    tmp_path: Path, files: dict[str, bytes], part: str
) -> None:
    report = read(tmp_path, files)
    assert report["problem"] == "dataset-invalid"
    assert part in report["message"]


def test_a_header_that_promises_the_moon_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ALWAYS_ALLOWED_BYTES", 2**16)
    huge = bytearray(make_idx(IMAGES))
    huge[4:8] = b"\xff\xff\xff\xff"
    report = read(tmp_path, {**pair(), "train-images-idx3-ubyte.gz": bytes(huge)})
    assert report["problem"] == "archive-unsafe"
