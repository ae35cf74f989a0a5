"""Archives that could do harm, and those that are merely broken."""

import io
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.config import get_settings
from app.datasets import archive, staging
from tests.app.datasets.archives import make_idx, make_npz, make_picture, make_tar, make_zip
from tests.app.datasets.tables import read_file

RED = make_picture()
GOOD = {"cat/1.png": RED, "dog/2.png": RED}


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("TRAINSMITH_MAX_ARCHIVE_FILES", "5")
    get_settings.cache_clear()
    yield 5
    monkeypatch.undo()
    get_settings.cache_clear()


def refuse(folder: Path, content: bytes, filename: str = "a.zip") -> dict[str, Any]:
    report = read_file(folder, content, filename)
    assert report["problem"] == "archive-unsafe", report
    assert not (folder / "table.parquet").exists()
    return report


def link(kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo("cat/9.png")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "name",
    [
        "cat/../../evil.png",
        "../evil.png",
        "/tmp/evil.png",
        "..\\..\\evil.png",
        "C:\\evil.png",
        "c:evil.png",
        "cat/" + "x" * 1100,
    ],
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, make: Any) -> None:
    report = refuse(tmp_path, make({**GOOD, name: RED}), "a.zip" if make is make_zip else "a.tar")
    assert len(report["errors"]) == 1


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    report = refuse(tmp_path, make_tar(GOOD, "w", link(kind)), "a.tar")
    assert report["errors"][0]["loc"] == ["file", "cat/9.png"]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        info = zipfile.ZipInfo("cat/1.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    refuse(tmp_path, out.getvalue())


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, few_files: int) -> None:
    files = {f"a/{i}.png": RED for i in range(few_files + 1)}
    for content, filename in ((make_zip(files), "a.zip"), (make_tar(files, "w:gz"), "a.tgz")):
        report = refuse(tmp_path, content, filename)
        assert "TRAINSMITH_MAX_ARCHIVE_FILES" in report["message"]


def test_an_archive_of_names_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_EMPTY", 20)
    report = refuse(tmp_path, make_zip({f"a/{i}.png": b"" for i in range(21)}))
    assert "empty" in report["message"]


def test_an_archive_that_unfolds_to_far_more_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ALWAYS_ALLOWED_BYTES", 2**16)
    files = {**GOOD, "cat/0.png": bytes(2**21)}
    for content, filename in ((make_zip(files), "a.zip"), (make_tar(files, "w:gz"), "a.tgz")):
        refuse(tmp_path, content, filename)


def test_pictures_that_unfold_to_far_more_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ALWAYS_ALLOWED_BYTES", 2**16)
    files = {f"a/{i}.png": make_picture(size=(500, 500)) for i in range(3)}
    assert read_file(tmp_path, make_zip(files), "a.zip")["problem"] == "dataset-too-large"


def test_one_huge_picture_is_named(tmp_path: Path) -> None:
    report = refuse(
        tmp_path, make_zip({**GOOD, "dog/bomb.png": make_picture(0, (9500, 9500), "1")})
    )
    assert report["errors"][0]["loc"] == ["file", "dog/bomb.png"]
    assert "pixels" in report["message"]


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    raw = make_zip({"cat/1.png": RED})
    end = raw.rfind(b"PK\x05\x06")
    (start,) = struct.unpack("<I", raw[end + 16 : end + 20])
    entries = raw[start:end] * 9
    tail = struct.pack("<HHIIH", 9, 9, len(entries), start, 0)
    refuse(tmp_path, raw[:start] + entries + raw[end : end + 8] + tail)


# ---------------------------------------------------------------- broken ones


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    raw = bytearray(make_zip(GOOD))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.find(signature) + place] |= 1
    report = read_file(tmp_path, bytes(raw), "a.zip")
    assert report["problem"] == "dataset-invalid"
    assert "encrypted" in report["message"]


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    raw = bytearray(make_zip(GOOD, zipfile.ZIP_STORED))
    raw[raw.find(b"IDAT") + 6] ^= 1
    report = read_file(tmp_path, bytes(raw), "a.zip")
    assert [(e["loc"][1], e["type"]) for e in report["errors"]] == [("cat/1.png", "damaged")]


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_an_archive_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    for content, filename in (
        (make_zip(GOOD), "a.zip"),
        (make_tar(GOOD, "w:gz"), "a.tgz"),
        (make_tar(GOOD)[:1400], "a.tar"),
        (make_tar(GOOD)[: 2048 + cut], "a.tar"),  # where the end belongs
    ):
        report = read_file(tmp_path, content[:-cut], filename)
        assert report["problem"] == "dataset-invalid", filename


@pytest.mark.parametrize("filename", ["a.zip", "a.tar", "a.tgz"])
def test_what_is_no_archive_is_refused(tmp_path: Path, filename: str) -> None:
    assert "neither" in read_file(tmp_path, b"hello", filename)["message"]


def test_an_empty_archive_is_refused(tmp_path: Path) -> None:
    assert read_file(tmp_path, make_zip({}), "a.zip")["problem"] == "dataset-invalid"


def test_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    report = read_file(tmp_path, make_tar({"a/1.png": RED, "./a/1.png": RED}), "a.tar")
    assert report["errors"][0]["type"] == "repeated"


def test_names_from_windows_are_folders_too(tmp_path: Path) -> None:
    report = read_file(tmp_path, make_zip({"cat\\1.png": RED, "dog\\2.png": RED}), "a.zip")
    assert report["rows"] == 2


@pytest.mark.parametrize("filename", ["a.zip", "a.tar", "a.tgz", "a.npz", "i.zip"])
def test_bytes_changed_at_random_never_bring_the_reader_down(tmp_path: Path, filename: str) -> None:
    content = {
        "a.zip": make_zip(GOOD, zipfile.ZIP_STORED),
        "a.tar": make_tar(GOOD),
        "a.tgz": make_tar(GOOD, "w:gz"),
        "a.npz": make_npz(x=np.zeros((3, 4, 4), np.uint8), y=np.arange(3)),
        "i.zip": make_zip({"a-idx1-ubyte": make_idx(np.zeros(3, np.uint8))}),
    }[filename]
    chance = random.Random(0)
    for _ in range(30):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 2, 8))):
            changed[chance.randrange(len(changed))] = chance.choice((0, 255, chance.randrange(256)))
        report = read_file(tmp_path, bytes(changed), filename)
        assert report.get("problem", "archive-unsafe") in ("archive-unsafe", "dataset-invalid")


def test_a_zip_whose_members_lie_before_it_is_damaged(tmp_path: Path) -> None:
    raw = bytearray(make_zip(GOOD))
    end = raw.rfind(b"PK\x05\x06")
    (start,) = struct.unpack_from("<I", raw, end + 16)
    struct.pack_into("<I", raw, end + 16, start + 500)
    assert read_file(tmp_path, bytes(raw), "a.zip")["problem"] == "dataset-invalid"
