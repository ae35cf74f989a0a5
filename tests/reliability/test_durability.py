"""The order in which a checkpoint reaches the disk: contents, folder, name, parent."""

import errno
import os
from pathlib import Path

import pytest
import torch

from worker.engine import checkpoint
from worker.engine.checkpoint import (
    InvalidCheckpoint,
    read_checkpoint,
    write_checkpoint,
    write_folder,
)
from worker.engine.snapshot import Snapshot

FILES = {"model.safetensors", "state.safetensors", "SHA256SUMS"}


def make_snapshot(value: float = 1.0) -> Snapshot:
    return Snapshot({"w": torch.full((3,), value)}, {"m": torch.zeros(2)}, {"step": 7})


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, Path]]:
    """Each sync, with what the file held at that moment, and each rename."""
    calls: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, Path.rename

    def record_fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        assert path.is_dir() or path.stat().st_size > 0, "it was synced before it was written"
        calls.append(("sync", path))
        fsync(handle)

    def record_rename(self: Path, target: Path) -> Path:
        calls.append(("rename", Path(target)))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "rename", record_rename)
    return calls


def test_a_checkpoint_is_named_only_when_all_of_it_is_on_disk(tmp_path, calls):
    folder = tmp_path / "s7"

    write_checkpoint(folder, make_snapshot())

    kinds = [kind for kind, _ in calls]
    assert kinds == ["sync"] * len(FILES) + ["sync", "rename", "sync"]
    synced = [path for _, path in calls[: len(FILES)]]
    assert {path.name for path in synced} == FILES
    temporary = synced[0].parent
    assert temporary != folder
    assert calls[len(FILES) :] == [("sync", temporary), ("rename", folder), ("sync", tmp_path)]


@pytest.mark.parametrize("failing", range(5))
def test_a_failed_sync_leaves_no_checkpoint_and_no_leftover(tmp_path, monkeypatch, failing):
    """After such an error nobody knows what is on the disk: it is not tried again."""
    fsync, count = os.fsync, iter(range(100))

    def fail(handle: int) -> None:
        if next(count) == failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_checkpoint(tmp_path / "s7", make_snapshot())

    if failing < len(FILES) + 1:  # the last sync is of the parent, after the rename
        assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_never_overwritten(tmp_path):
    write_checkpoint(tmp_path / "s7", make_snapshot(1.0))

    with pytest.raises(OSError, match="not empty"):
        write_checkpoint(tmp_path / "s7", make_snapshot(2.0))

    assert read_checkpoint(tmp_path / "s7").model["w"].tolist() == [1.0] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["s7"]


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("harm", ["flip a bit", "cut", "remove"])
def test_a_damaged_checkpoint_is_refused(tmp_path, name, harm):
    folder = tmp_path / "s7"
    write_checkpoint(folder, make_snapshot())
    path = folder / name
    content = bytearray(path.read_bytes())
    if harm == "remove":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[5] ^= 1
        path.write_bytes(content)

    with pytest.raises(InvalidCheckpoint):
        read_checkpoint(folder)


def test_a_full_disk_in_the_middle_of_a_file_leaves_nothing(tmp_path, monkeypatch):
    write_file = checkpoint.write_file

    def run_out(path: Path, content: bytes) -> None:
        if path.name == "state.safetensors":
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_file(path, content)

    monkeypatch.setattr(checkpoint, "write_file", run_out)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(tmp_path / "s7", make_snapshot())

    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_committed_the_same_way(tmp_path, calls):
    write_folder(tmp_path / "bundle", {"config.json": b"{}"})

    assert [kind for kind, _ in calls] == ["sync", "sync", "rename", "sync"]
