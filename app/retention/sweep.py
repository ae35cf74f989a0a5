"""The sweep: ends what has expired and removes what nothing lists. One runs at a time."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Select, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.config import get_settings
from app.datasets import upload
from app.db import get_engine, transaction
from app.retention import expiry
from app.retention.missing import find_missing
from app.retention.orphans import find_orphans, read
from app.storage import dataset_key, get_path, get_root, job_key, remove_folder

log = logging.getLogger(__name__)
ADVISORY_LOCK = 0x7377_6565_70  # "sweep"
CHECK_SECONDS = 60.0
SWEPT = "swept"  # this file's time is that of the last sweep, whoever made it


class SweepRuns(Exception):
    """Another sweep is running. Try again later."""


@dataclass
class Swept:
    """What has gone or, in a dry run, would go; and what is listed without its files."""

    jobs: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)  # relative to the blob store
    size_bytes: int = 0
    missing: list[str] = field(default_factory=list)


def sweep(dry_run: bool = False, verify: bool = False) -> Swept:
    """Raises SweepRuns."""
    with _take_turn():
        swept = Swept()
        for job_id in _list_ids(expiry.expired_jobs()):
            size = measure(get_path(job_key(job_id)))
            if dry_run or _delete(expiry.delete_job, job_id):
                swept.jobs.append(job_id)
                swept.size_bytes += size
        for dataset_id in _list_ids(expiry.expired_datasets()):
            size = measure(get_path(dataset_key(dataset_id)))
            if dry_run or _delete(expiry.delete_dataset, dataset_id):
                swept.datasets.append(dataset_id)
                swept.size_bytes += size
        for path in find_orphans():
            swept.orphans.append(str(path.relative_to(get_root())))
            swept.size_bytes += measure(path)
            if not dry_run:
                remove(path)
        if not dry_run and (uploads := get_path("uploads")).is_dir():
            upload.sweep(uploads)
        swept.missing.extend(find_missing(verify))
    return swept


@contextmanager
def _take_turn() -> Iterator[None]:
    """The lock of a connection, not of a transaction: none is open while files are looked at."""
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(select(func.pg_try_advisory_lock(ADVISORY_LOCK))):
            raise SweepRuns(SweepRuns.__doc__)
        try:
            yield
        finally:
            connection.execute(select(func.pg_advisory_unlock(ADVISORY_LOCK)))


def _list_ids(query: Select[str]) -> list[str]:
    return [id for (id,) in read(query)]


def _delete(delete: Callable[[Session, str], bool], id: str) -> bool:
    with transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = '10min'"))  # of a job's many points
        return delete(session, id)


def measure(path: Path) -> int:
    """Bytes of the files at or below `path`."""
    files = [path] if path.is_file() else path.rglob("*")
    sizes = []
    for file in files:
        try:
            sizes.append(file.lstat().st_size if file.is_file() else 0)
        except FileNotFoundError:
            continue
    return sum(sizes)


def remove(path: Path) -> None:
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


class Sweeper(threading.Thread):
    """Sweeps every TRAINSMITH_SWEEP_SECONDS; of several processes, the first to notice does it."""

    def __init__(self) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(min(CHECK_SECONDS, get_settings().sweep_seconds)):
            try:
                self.act()
            except (SweepRuns, DBAPIError, OSError) as error:
                log.info("no sweep now: %s", str(error).partition("\n")[0])
            except Exception:
                log.exception("the sweep failed")

    def act(self) -> None:
        mark = get_path(SWEPT)
        if mark.exists() and time.time() - mark.stat().st_mtime < get_settings().sweep_seconds:
            return
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
        swept = sweep()
        log.info(
            "swept: %d jobs, %d datasets, %d leftovers, %d bytes",
            *(len(swept.jobs), len(swept.datasets), len(swept.orphans), swept.size_bytes),
        )
        if swept.missing:
            log.warning("listed, but not on disk: %s", ", ".join(swept.missing[:100]))

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=5)
