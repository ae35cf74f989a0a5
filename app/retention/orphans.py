"""Files that no row speaks of.

Files come before their row and go after it, so a crash leaves files alone at worst. Left in peace
is what may still get its row, being younger than an hour or of a running attempt; and what is older
than this database, which may belong to another one.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Select, func, select

from app.checkpoints.tables import Checkpoint
from app.datasets.tables import Dataset
from app.db import transaction
from app.jobs.tables import TERMINAL, Job, JobStatus
from app.projects.tables import Project
from app.storage import EXPLANATIONS, INHERITED, get_path

MIN_AGE_SECONDS = 3600.0
BATCH = 200
JOB = re.compile(r"job_[0-9a-f]{32}")
DATASET = re.compile(r"ds_[0-9a-f]{32}")
ATTEMPT = re.compile(r"a\d+")
CHECKPOINT = re.compile(r"s\d+|\..+\.tmp")  # or the beginnings of one
NOT_LISTED = re.compile(EXPLANATIONS)  # where another attempt, or none, brought the job to its end
DOWNLOAD = re.compile(r"(s\d+)-.+")


def find_orphans() -> Iterator[Path]:
    """Folders and files that may go. Whoever iterates may remove what was yielded."""
    born = read_birth()
    limit = time.time() - MIN_AGE_SECONDS
    for path in (*_find_datasets(), *_find_in_jobs()):
        if born is not None and born < _read_time(path) < limit:
            yield path


def read_birth() -> float | None:
    """When this database got its first project."""
    ((created_at,),) = read(select(func.min(Project.created_at)))
    return None if created_at is None else float(created_at.timestamp())


def read(query: Select[*tuple[Any, ...]]) -> list[Any]:
    """In a transaction of its own: looking at files may take long, and none is open meanwhile."""
    with transaction() as session:
        return list(session.execute(query))


def _read_time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _list_folders(parent: Path, names: re.Pattern[str]) -> list[Path]:
    """Folders with such a name; links are followed nowhere."""
    if not parent.is_dir():
        return []
    named = [path for path in parent.iterdir() if names.fullmatch(path.name)]
    return sorted(path for path in named if path.is_dir() and not path.is_symlink())


def _split(paths: list[Path]) -> Iterator[tuple[list[Path], list[str]]]:
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        yield batch, [path.name for path in batch]


def _find_datasets() -> Iterator[Path]:
    for folders, names in _split(_list_folders(get_path("datasets"), DATASET)):
        query = select(Dataset.id).where(Dataset.id.in_(names), Dataset.deleted_at.is_(None))
        listed = {id for (id,) in read(query)}
        yield from (folder for folder in folders if folder.name not in listed)


def _find_in_jobs() -> Iterator[Path]:
    for folders, names in _split(_list_folders(get_path("jobs"), JOB)):
        facts = select(Job.id, Job.status, Job.attempt).where(Job.id.in_(names))
        jobs = {id: (status, attempt) for id, status, attempt in read(facts)}
        paths = select(Checkpoint.path).where(Checkpoint.job_id.in_(names))
        listed = {get_path(key) for (key,) in read(paths)}
        for folder in folders:
            if folder.name in jobs:
                yield from _find_in_job(folder, *jobs[folder.name], listed)
            else:
                yield folder


def _find_in_job(
    folder: Path, status: JobStatus, attempt: int, listed: set[Path]
) -> Iterator[Path]:
    for place in _list_folders(folder, ATTEMPT):
        number = int(place.name[1:])
        if number == INHERITED:
            yield from [place] if status in TERMINAL else []
        elif status is not JobStatus.RUNNING or number != attempt:
            if status in TERMINAL and not (status is JobStatus.SUCCEEDED and number == attempt):
                yield from _list_folders(place, NOT_LISTED)
            yield from (each for each in _list_folders(place, CHECKPOINT) if each not in listed)
            yield from _find_downloads(
                place, {path.name for path in listed if path.parent == place}
            )


def _find_downloads(place: Path, steps: set[str]) -> Iterator[Path]:
    """Files made for clients from checkpoints that have gone."""
    kept = place / "downloads"
    for path in sorted(kept.iterdir()) if kept.is_dir() else ():
        found = DOWNLOAD.fullmatch(path.name)
        if path.is_file() and (found is None or found[1] not in steps):
            yield path
