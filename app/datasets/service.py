"""Datasets: stored once, never changed, deleted only when no job needs them."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic import ValidationError as Invalid
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app import storage
from app.datasets.errors import DatasetInUse
from app.datasets.inspection import inspect_upload
from app.datasets.tables import Dataset
from app.datasets.upload import Upload
from app.db import after_commit, transaction
from app.errors import NotFound, ValidationError, field_error
from app.jobs.tables import TERMINAL, Job
from app.pagination import fetch_page
from app.specs.base import Name
from app.specs.data import DatasetFormat

log = logging.getLogger(__name__)
FILES = ("original", "table.parquet", "preview.jsonl")
KEPT = (*FILES, "pixels.bin")  # the last one only where there are pictures
MAX_NAMED_JOBS = 10
MAX_FILENAME = 255

# ---------------------------------------------------------------- adding


def add_dataset(project_id: str, dataset_id: str, folder: Path, upload: Upload) -> Dataset:
    """Read the file in `folder`, move it to its place and list it, in that order."""
    filename = clean_filename(upload.filename)
    name, format = read_fields(upload.fields, filename)
    report = inspect_upload(folder, filename, format)
    dataset = Dataset(
        id=dataset_id,
        project_id=project_id,
        name=name,
        filename=filename,
        format=report["format"],
        sha256=upload.sha256,
        size_bytes=upload.size_bytes,
        rows=report["rows"],
        columns=report["columns"],
    )
    place = move_into_place(folder, dataset_id)
    try:
        with transaction() as session:
            session.add(dataset)
            session.flush()
            session.refresh(dataset)
    except BaseException:
        remove_unlisted(dataset_id, place)
        raise
    return dataset


def read_fields(fields: dict[str, str], filename: str) -> tuple[str, str | None]:
    """The name, by default that of the file, and the format. Raises ValidationError."""
    errors = []
    name = fields.get("name", Path(filename).stem[:200] or "dataset")
    try:
        TypeAdapter(Name).validate_python(name)
    except Invalid as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        errors.append(field_error(["name"], message))
    format = fields.get("format")
    known = get_args(DatasetFormat)
    if format is not None and format not in known:
        errors.append(field_error(["format"], f"must be one of {', '.join(known)}"))
    if errors:
        raise ValidationError(errors=errors)
    return name, format


def clean_filename(filename: str) -> str:
    """The last part of what may be a whole path, without anything that could end a header."""
    last = re.split(r"[/\\]", filename)[-1]
    safe = "".join(char for char in last if char.isprintable() and char != "\ufffd")
    return safe.strip(". ")[-MAX_FILENAME:] or "dataset"


def move_into_place(folder: Path, dataset_id: str) -> Path:
    """Make the files durable, then the folder's new name."""
    for path in folder.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    storage.sync_folder(folder)
    place = storage.get_path(storage.dataset_key(dataset_id))
    place.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(place)
    storage.sync_folder(place.parent)
    return place


def remove_unlisted(dataset_id: str, place: Path) -> None:
    """After a failure: if the row is surely not there, neither shall the files be."""
    try:
        with transaction() as session:
            listed = session.get(Dataset, dataset_id) is not None
    except Exception:  # the database does not answer, so the commit may have gone through
        log.warning("%s may be an orphan: its row was not confirmed", dataset_id)
        return
    if not listed:
        remove_files(place)


# ---------------------------------------------------------------- looking


def list_datasets(
    session: Session, project_id: str, limit: int, cursor: str | None
) -> tuple[Sequence[Dataset], str | None]:
    query = select(Dataset).where(Dataset.project_id == project_id, Dataset.deleted_at.is_(None))
    return fetch_page(session, query, Dataset.id, limit, cursor)


def find_dataset(session: Session, project_id: str, dataset_id: str) -> Dataset:
    """Raises NotFound for a foreign or deleted dataset as for an absent one."""
    query = select(Dataset).where(
        Dataset.id == dataset_id, Dataset.project_id == project_id, Dataset.deleted_at.is_(None)
    )
    dataset = session.scalar(query)
    if dataset is None:
        raise NotFound("No such dataset.")
    return dataset


def get_file(dataset: Dataset, name: str) -> Path:
    return storage.get_path(storage.dataset_key(dataset.id)) / name


def read_preview(dataset: Dataset, rows: int) -> list[list[Any]]:
    cells = read_preview_cells(dataset, rows)
    for i, column in enumerate(dataset.columns):
        if column["kind"] == "image":  # where its pixels lie is nobody's business
            for picture in (row[i] for row in cells if row[i]):
                del picture["start"]
    return cells


def read_preview_cells(dataset: Dataset, rows: int) -> list[list[Any]]:
    with open_file(dataset, "preview.jsonl") as lines:
        return [json.loads(line) for line in islice(lines, rows)]


def open_file(dataset: Dataset, name: str) -> Any:
    try:
        return get_file(dataset, name).open("rb")
    except FileNotFoundError as error:  # deleted since its row was read
        raise NotFound("No such dataset.") from error


# ---------------------------------------------------------------- deleting


def delete_dataset(session: Session, project_id: str, dataset_id: str) -> None:
    """Hide the row, then remove the files. Deleting twice is fine.

    The lock and that of a job's creation exclude each other, so no job slips in between.
    """
    query = select(Dataset).where(Dataset.id == dataset_id, Dataset.project_id == project_id)
    dataset = session.scalar(query.with_for_update())
    if dataset is None:
        raise NotFound("No such dataset.")
    if dataset.deleted_at is not None:
        return
    users = list(find_users(session, dataset_id))
    if users:
        raise DatasetInUse(f"Jobs still need this dataset: {', '.join(users)}.")
    dataset.deleted_at = session.scalar(select(func.now()))
    after_commit(session, partial(remove_files, get_file(dataset, "original").parent))


def find_users(session: Session, dataset_id: str) -> Iterator[str]:
    """Jobs that will yet read this dataset."""
    query = select(Job.id).where(
        or_(Job.dataset_id == dataset_id, Job.test_dataset_id == dataset_id),
        Job.status.not_in(TERMINAL),
    )
    yield from session.scalars(query.order_by(Job.id).limit(MAX_NAMED_JOBS))


def remove_files(place: Path) -> None:
    """Files that stay behind waste space and nothing else: their row is gone."""
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s was not removed: %s", place.name, error)
