"""What would go now."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.checkpoints.tables import Checkpoint
from app.config import get_settings
from app.datasets.tables import Dataset
from app.jobs.tables import Job
from app.retention.expiry import expired_datasets, expired_jobs
from app.retention.schemas import Going, RetentionOut

MAX_IDS = 100


def preview(session: Session, project_id: str) -> RetentionOut:
    jobs = session.scalars(expired_jobs().where(Job.project_id == project_id).order_by(Job.id))
    datasets = session.scalars(
        expired_datasets().where(Dataset.project_id == project_id).order_by(Dataset.id)
    )
    settings = get_settings()
    return RetentionOut(
        job_ttl_days=settings.job_ttl_days,
        dataset_ttl_days=settings.dataset_ttl_days,
        jobs=_measure_jobs(session, jobs.all()),
        datasets=_measure_datasets(session, datasets.all()),
    )


def _measure_jobs(session: Session, ids: Sequence[str]) -> Going:
    listed = session.scalars(select(Checkpoint.files).where(Checkpoint.job_id.in_(ids)))
    size = sum(file["size_bytes"] for files in listed for file in files.values())
    return Going(count=len(ids), size_bytes=size, ids=ids[:MAX_IDS])


def _measure_datasets(session: Session, ids: Sequence[str]) -> Going:
    sizes = session.scalars(select(Dataset.size_bytes).where(Dataset.id.in_(ids)))
    return Going(count=len(ids), size_bytes=sum(sizes), ids=ids[:MAX_IDS])
