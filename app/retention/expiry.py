"""Jobs and datasets that have outlived their time, and the end of them.

A job expires once it has ended so long ago and none of its checkpoints is pinned; a dataset, once
it and the last job that used it are so old and no job needs it any more.
"""

from functools import partial

from sqlalchemy import ColumnElement, Select, delete, exists, false, or_, select, update
from sqlalchemy.orm import Session

from app.checkpoints.tables import Checkpoint
from app.config import get_settings
from app.datasets.tables import Dataset
from app.db import after_commit
from app.jobs.clock import interval, now
from app.jobs.tables import TERMINAL, Job
from app.storage import dataset_key, get_path, job_key, remove_folder

DAY_SECONDS = 86_400.0


def _cutoff(days: float) -> ColumnElement[object]:
    return now() - interval(days * DAY_SECONDS)


def expired_jobs() -> Select[str]:
    """Ids. None, where jobs are kept for ever."""
    days = get_settings().job_ttl_days
    if days is None:
        return select(Job.id).where(false())
    pinned = exists().where(Checkpoint.job_id == Job.id, Checkpoint.pinned)
    return select(Job.id).where(Job.status.in_(TERMINAL), Job.finished_at < _cutoff(days), ~pinned)


def expired_datasets() -> Select[str]:
    """Ids. None, where datasets are kept for ever."""
    days = get_settings().dataset_ttl_days
    if days is None:
        return select(Dataset.id).where(false())
    uses = or_(Job.dataset_id == Dataset.id, Job.test_dataset_id == Dataset.id)
    needed = or_(Job.status.not_in(TERMINAL), Job.finished_at >= _cutoff(days))
    return select(Dataset.id).where(
        Dataset.deleted_at.is_(None),
        Dataset.created_at < _cutoff(days),
        ~exists().where(uses, needed),
    )


def delete_job(session: Session, job_id: str) -> bool:
    """Rows first, then files. False: it has been pinned or deleted meanwhile."""
    query = expired_jobs().where(Job.id == job_id).with_for_update()
    if session.scalar(query) is None:
        return False
    session.execute(delete(Job).where(Job.id == job_id))
    after_commit(session, partial(remove_folder, get_path(job_key(job_id))))
    return True


def delete_dataset(session: Session, dataset_id: str) -> bool:
    """Hide the row, then remove the files. False: a job has come to need it, or it is gone.

    The lock and that of a job's creation exclude each other, so no job slips in between.
    """
    locked = select(Dataset.id).where(Dataset.id == dataset_id).with_for_update()
    if session.scalar(locked) is None:
        return False
    still = session.scalar(expired_datasets().where(Dataset.id == dataset_id))
    if still is None:
        return False
    session.execute(update(Dataset).where(Dataset.id == dataset_id).values(deleted_at=now()))
    after_commit(session, partial(remove_folder, get_path(dataset_key(dataset_id))))
    return True
