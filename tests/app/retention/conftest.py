"""An old project, and things in it with their files."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from app.checkpoints import service as checkpoints
from app.config import get_settings
from app.datasets.tables import Dataset
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.clock import interval, now
from app.jobs.leases import Lease
from app.jobs.tables import Job
from app.projects.tables import Project
from app.storage import checkpoint_key, dataset_key, get_path, get_root
from tests.factories import Account, claim_job, make_dataset

DAY = 86_400.0
FILES = ("model.safetensors", "state.safetensors")


@pytest.fixture(autouse=True)
def _empty_store(account: Account) -> Iterator[None]:
    """The project is a year old: what no row speaks of is not another database's."""
    shutil.rmtree(get_root(), ignore_errors=True)
    with transaction() as session:
        session.execute(update(Project).values(created_at=now() - interval(365 * DAY)))
    yield
    shutil.rmtree(get_root(), ignore_errors=True)


@pytest.fixture
def _ttl(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRAINSMITH_JOB_TTL_DAYS", "7")
    monkeypatch.setenv("TRAINSMITH_DATASET_TTL_DAYS", "30")
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


def add_dataset(project_id: str, days: float = 0) -> str:
    dataset_id = make_dataset(project_id)
    write(get_path(dataset_key(dataset_id)) / "table.parquet")
    with transaction() as session:
        age = now() - interval(days * DAY)
        session.execute(update(Dataset).where(Dataset.id == dataset_id).values(created_at=age))
    return dataset_id


def start_job(project_id: str, dataset_id: str) -> Lease:
    with transaction() as session:
        spec = {"limits": {"max_attempts": 3}}
        job = Job(
            project_id=project_id, dataset_id=dataset_id, name="a", model_type="mlp", spec=spec
        )
        lifecycle.add(session, job)
    return claim_job()


def end_job(lease: Lease, days: float = 0) -> str:
    with transaction() as session:
        lifecycle.succeed(session, lease, {})
        ended = update(Job).where(Job.id == lease.job_id)
        session.execute(ended.values(finished_at=now() - interval(days * DAY)))
    return lease.job_id


def add_checkpoint(lease: Lease, step: int, pinned: bool = False) -> str:
    key = checkpoint_key(lease.job_id, lease.attempt, step)
    for name in FILES:
        write(get_path(key) / name)
    with transaction() as session:
        row = checkpoints.add_checkpoint(
            session,
            job_id=lease.job_id,
            attempt_id=lease.attempt_id,
            step=step,
            epoch=1.0,
            path=key,
            files={name: {"sha256": "0" * 64, "size_bytes": 4} for name in FILES},
            metrics={},
            best=False,
        )
        row.pinned = pinned
        return row.id


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"1234")
    return path


def age(path: Path, hours: float = 2) -> Path:
    """Set the time of a file or of a folder and all below it back."""
    then = time.time() - hours * 3600
    for each in (*path.rglob("*"), path):
        os.utime(each, (then, then))
    return path
