"""Checkpoints on disk: whole or absent, each file with its digest.

A checkpoint is a folder with `model.safetensors` (the weights alone; the same weights give the same
bytes), `state.safetensors` (what else resuming needs; JSON in its metadata) and `SHA256SUMS`.
It is written under a temporary name, synced, renamed, and its parent synced.
"""

import hashlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load, save

from app import faults
from app.storage import sync_folder
from worker.engine.snapshot import Snapshot

FACTS = "trainsmith"  # the metadata key of the JSON
SUMS = "SHA256SUMS"
KINDS = {"bundle": "bundle", "explanations": "explanations", "fold": "fold"}  # else: checkpoint
Files = dict[str, dict[str, Any]]  # file name -> {"sha256", "size_bytes"}


class InvalidCheckpoint(Exception):
    """The checkpoint is absent, damaged or not of this job."""


def write_checkpoint(folder: Path, snapshot: Snapshot) -> Files:
    """Commit a snapshot as `folder`, which must not exist."""
    facts = json.dumps(snapshot.facts, allow_nan=False)
    contents = {
        "model.safetensors": save(snapshot.model, {"format": "pt"}),
        "state.safetensors": save(snapshot.state, {FACTS: facts}),
    }
    return write_summed(folder, contents)


def write_summed(folder: Path, contents: dict[str, bytes]) -> Files:
    """Beside the files, their digests."""
    files = {name: describe(content) for name, content in contents.items()}
    sums = "".join(f"{file['sha256']}  {name}\n" for name, file in files.items())
    write_folder(folder, {**contents, SUMS: sums.encode()})
    return files


def describe(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def write_folder(folder: Path, contents: dict[str, bytes]) -> None:
    """All of the files, durably, or nothing."""
    kind = KINDS.get(folder.name.rstrip("0123456789"), "checkpoint")
    faults.reach(f"{kind}.before_write")
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        for name, content in contents.items():
            write_file(temporary / name, content)
        faults.reach(f"{kind}.before_sync")
        sync_folder(temporary)
        faults.reach(f"{kind}.before_rename")
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    faults.reach(f"{kind}.after_rename")


def write_file(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_checkpoint(folder: Path) -> Snapshot:
    """Raises InvalidCheckpoint."""
    try:
        contents = read_summed(folder)
        state = contents["state.safetensors"]
        return Snapshot(load(contents["model.safetensors"]), load(state), read_facts(state))
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise InvalidCheckpoint(f"{type(error).__name__}: {error}") from error


def read_summed(folder: Path) -> dict[str, bytes]:
    """What `write_summed` wrote. Raises InvalidCheckpoint, OSError, ValueError."""
    contents = {}
    for line in (folder / SUMS).read_text().splitlines():
        digest, _, name = line.partition("  ")
        contents[name] = (folder / Path(name).name).read_bytes()
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise InvalidCheckpoint(f"{name} does not match its digest")
    return contents


def read_facts(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file: its length in 8 bytes, then JSON."""
    length = int.from_bytes(content[:8], "little")
    facts: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][FACTS])
    return facts


def name_checkpoint(folder: Path) -> str:
    """Relative to the folder of the job, such as a1/s120."""
    return f"{folder.parent.name}/{folder.name}"
