"""Rows whose files are gone or are not what they were."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Select, cast, select
from sqlalchemy.dialects.postgresql import JSONPATH

from app.checkpoints.tables import Checkpoint
from app.datasets.tables import Dataset
from app.explanations.service import locate
from app.jobs.tables import Job
from app.retention.orphans import BATCH, read
from app.storage import dataset_key, get_path

TABLE = "table.parquet"
PIXELS = "pixels.bin"


def find_missing(verify: bool) -> Iterator[str]:
    """Ids of checkpoints, jobs and datasets whose files are gone or cut short. With `verify` every
    byte of a checkpoint or an explanation is read, and held against its digest."""
    for id, path, files in _read_all(select(Checkpoint.id, Checkpoint.path, Checkpoint.files)):
        folder = get_path(path)
        sound = all(_is_sound(folder / name, facts, verify) for name, facts in files.items())
        if not sound and read(select(Checkpoint.id).where(Checkpoint.id == id)):
            yield id  # and not one that has gone since its row was read
    yield from _find_missing_explanations(verify)
    yield from _find_missing_datasets()


def _find_missing_explanations(verify: bool) -> Iterator[str]:
    """Ids of the jobs."""
    named = Job.evaluation["explanations"]
    query = select(Job.id, Job.attempt, named).where(
        Job.evaluation.op("@?")(cast("$.explanations[*]", JSONPATH))
    )
    for id, attempt, explanations in _read_all(query):
        files = (file for each in explanations for file in each["files"])
        sound = all(_is_sound(locate(id, attempt, file), file, verify) for file in files)
        if not sound and read(select(Job.id).where(Job.id == id)):
            yield id


def _find_missing_datasets() -> Iterator[str]:
    listed = select(Dataset.id, Dataset.columns).where(Dataset.deleted_at.is_(None))
    for id, columns in _read_all(listed):
        folder = get_path(dataset_key(id))
        pictured = any(column["kind"] == "image" for column in columns)
        needed = [TABLE, PIXELS] if pictured else [TABLE]
        whole = all((folder / name).is_file() for name in needed)
        if not whole and read(listed.where(Dataset.id == id)):
            yield id


def _read_all(query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    """Rows by their first column, an id, a batch at a time."""
    (id, *_) = query.selected_columns
    rows = read(query.order_by(id).limit(BATCH))
    while rows:
        yield from rows
        rows = read(query.where(id > rows[-1][0]).order_by(id).limit(BATCH))


def _is_sound(path: Path, facts: dict[str, Any], verify: bool) -> bool:
    try:
        if path.stat().st_size != facts["size_bytes"]:
            return False
        if not verify:
            return True
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return False
    return bool(found == facts["sha256"])
