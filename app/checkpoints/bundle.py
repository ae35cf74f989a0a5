"""Files that clients download, made from a checkpoint once and kept in `downloads` beside it.

The name of a kept file ends with its sha256, so that it appears whole and with its digest or not
at all. The same checkpoint and evaluation give the same bytes.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from app.errors import AppError
from app.storage import sync_folder

MODEL = "model.safetensors"
CHUNK_BYTES = 2**20
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can name


class CheckpointCorrupt(AppError):
    """A file of this checkpoint is damaged. Download another checkpoint of the job."""

    status_code = 500


@dataclass(frozen=True)
class Source:
    """What a download is made of, read from the database."""

    folder: Path  # of the checkpoint; its attempt has the folder above
    model_sha256: str
    evaluation: dict[str, Any]

    @property
    def kept(self) -> Path:
        return self.folder.parent / "downloads"

    @property
    def bundle(self) -> Path:
        return self.folder.parent / "bundle"


@dataclass(frozen=True)
class Kept:
    path: Path
    sha256: str


def get_model(source: Source) -> Kept:
    """The weights, once they have been found to match their recorded digest.

    Raises CheckpointCorrupt, or FileNotFoundError where the checkpoint has been deleted.
    """
    stem = f"{source.folder.name}-model"
    return find_kept(source, stem) or keep(source, stem, ".safetensors", _link_model)


def get_bundle(source: Source) -> Kept:
    """The zip of everything that predicting takes. Raises as `get_model` does."""
    digest = hashlib.sha256(to_json(source.evaluation)).hexdigest()
    stem = f"{source.folder.name}-{digest[:16]}"
    return find_kept(source, stem) or keep(source, stem, ".zip", _write_zip)


def find_kept(source: Source, stem: str) -> Kept | None:
    source.folder.stat()  # a deleted checkpoint is not served from what was kept
    for path in source.kept.glob(f"{stem}-*"):
        found = re.fullmatch(rf"{re.escape(stem)}-([0-9a-f]{{64}})\.[a-z]+", path.name)
        if found:
            return Kept(path, found[1])
    return None


def keep(source: Source, stem: str, suffix: str, make: Callable[[Source, Path], None]) -> Kept:
    """Make a file under a temporary name, then give it its own."""
    source.kept.mkdir(exist_ok=True)
    remove_outdated(source)
    draft = source.kept / f".{uuid4().hex}"
    try:
        make(source, draft)
        with draft.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = source.kept / f"{stem}-{sha256}{suffix}"
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(source.kept)
    return Kept(path, sha256)


def remove_outdated(source: Source) -> None:
    """Checkpoints come and go while a job runs; what was made from them goes here."""
    for path in source.kept.glob("s*-*"):
        if not (source.folder.parent / path.name.partition("-")[0]).exists():
            with suppress(FileNotFoundError):
                path.unlink()


def _link_model(source: Source, draft: Path) -> None:
    with (source.folder / MODEL).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != source.model_sha256:
            raise CheckpointCorrupt
    os.link(source.folder / MODEL, draft)


def _write_zip(source: Source, draft: Path) -> None:
    files = read_texts(source)
    model = source.folder / MODEL
    facts = {name: _measure(content) for name, content in files.items()}
    facts[MODEL] = {"sha256": source.model_sha256, "size_bytes": model.stat().st_size}
    files["manifest.json"] = to_json(dict(sorted(facts.items())))
    with draft.open("xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted([*files, MODEL]):
                if name == MODEL:
                    _add_model(archive, model, source.model_sha256)
                else:
                    archive.writestr(_entry(name, len(files[name])), files[name])
        file.flush()
        os.fsync(file.fileno())


def read_texts(source: Source) -> dict[str, bytes]:
    try:
        files = {path.name: path.read_bytes() for path in source.bundle.iterdir()}
    except FileNotFoundError as error:
        source.folder.stat()
        raise CheckpointCorrupt("The files that describe this model are missing.") from error
    return {**files, "evaluation.json": to_json(source.evaluation)}


def _add_model(archive: zipfile.ZipFile, path: Path, sha256: str) -> None:
    """Copy the weights, hashing what is copied: damage never reaches a client as a good file."""
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file, archive.open(_entry(MODEL, size), "w") as entry:
        for chunk in _read_chunks(file):
            digest.update(chunk)
            entry.write(chunk)
    if digest.hexdigest() != sha256:
        raise CheckpointCorrupt


def _read_chunks(file: IO[bytes]) -> Any:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.file_size = size
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # Unix, wherever this runs
    return entry


def _measure(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def to_json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
