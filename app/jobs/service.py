"""What clients do with jobs."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, defer

from app import faults
from app.datasets.tables import Dataset
from app.db import after_commit
from app.errors import (
    Conflict,
    FieldError,
    IdempotencyKeyReused,
    QuotaExceeded,
    ValidationError,
    field_error,
)
from app.jobs import lifecycle
from app.jobs.checks import Plan, resolve
from app.jobs.fairness import due_jobs
from app.jobs.tables import TERMINAL, Job, JobStatus, Requested
from app.pagination import fetch_page
from app.projects.tables import Project
from app.specs import JobSpec
from app.storage import get_path, job_key, remove_folder

# What lists do not show is not read: an evaluation may hold a matrix.
LIGHT = (defer(Job.spec, raiseload=True), defer(Job.evaluation, raiseload=True))


class Submitted(NamedTuple):
    job: Job
    replayed: bool


# ---------------------------------------------------------------- submitting


def plan_job(session: Session, project_id: str, spec: JobSpec) -> Plan:
    """Check `spec` against its data. The datasets stay undeleted until this transaction ends."""
    errors: list[FieldError] = []
    dataset = _find_dataset(session, project_id, spec.dataset.id)
    if dataset is None:
        errors.append(field_error(["dataset", "id"], "no such dataset in this project"))
    test_dataset = None
    if spec.dataset.test_id is not None:
        test_dataset = _find_dataset(session, project_id, spec.dataset.test_id)
        if test_dataset is None:
            errors.append(field_error(["dataset", "test_id"], "no such dataset in this project"))
    if errors:
        raise ValidationError("The spec names a dataset that is not there.", errors)
    assert dataset is not None
    return resolve(spec, dataset, test_dataset)


def _find_dataset(session: Session, project_id: str, dataset_id: str) -> Dataset | None:
    query = select(Dataset).where(
        Dataset.id == dataset_id, Dataset.project_id == project_id, Dataset.deleted_at.is_(None)
    )
    return session.scalar(query.with_for_update(read=True))


def submit(session: Session, project_id: str, spec: JobSpec, key: str | None) -> Submitted:
    """Queue a job, once per idempotency key."""
    digest = hashlib.sha256(spec.model_dump_json().encode()).hexdigest()
    earlier = find_replay(session, project_id, key, digest)
    if earlier is not None:
        return Submitted(earlier, replayed=True)
    plan = plan_job(session, project_id, spec)
    return Submitted(add_job(session, project_id, plan, key, digest), replayed=False)


def find_replay(session: Session, project_id: str, key: str | None, digest: str) -> Job | None:
    """The job that this key made before. Holds the key until the transaction ends.

    The lock makes parallel requests with one key wait for the first; the unique constraint on
    the key would catch what the lock missed.
    """
    if key is None:
        return None
    held = func.hashtextextended(f"{project_id} {key}", 0)
    session.execute(select(func.pg_advisory_xact_lock(held)))
    query = select(Job).where(Job.project_id == project_id, Job.idempotency_key == key)
    job = session.scalar(query)
    if job is not None and job.request_sha256 != digest:
        raise IdempotencyKeyReused
    return job


def add_job(
    session: Session, project_id: str, plan: Plan, key: str | None, digest: str, **values: Any
) -> Job:
    refuse_full_queue(session, project_id)
    spec = plan.spec
    job = Job(
        project_id=project_id,
        name=spec.name,
        model_type=spec.model.type,
        spec=spec.model_dump(mode="json"),
        dataset_id=spec.dataset.id,
        test_dataset_id=spec.dataset.test_id,
        labels=spec.labels,
        priority=spec.priority,
        idempotency_key=key,
        request_sha256=digest if key else None,
        **values,
    )
    lifecycle.add(session, job, [describe_warning(warning) for warning in plan.warnings])
    session.refresh(job)
    faults.reach("api.before_commit")
    after_commit(session, partial(faults.reach, "api.after_commit"))
    return job


def describe_warning(warning: FieldError) -> str:
    return f"{'.'.join(map(str, warning['loc']))}: {warning['message']}"


def refuse_full_queue(session: Session, project_id: str) -> None:
    cap = session.scalar(select(Project.max_queued).where(Project.id == project_id))
    if cap is None:
        return
    # Parallel submits would all count the same number: those of a capped project take turns.
    session.execute(
        select(Project.id).where(Project.id == project_id).with_for_update(key_share=True)
    )
    queued = select(func.count()).where(
        Job.project_id == project_id, Job.status == JobStatus.QUEUED
    )
    if (session.scalar(queued) or 0) >= cap:
        raise QuotaExceeded(f"This project may have {cap} queued jobs, and it has them.")


# ---------------------------------------------------------------- looking


def list_jobs(
    session: Session,
    project_id: str,
    *,
    statuses: Sequence[JobStatus],
    model: str | None,
    name: str | None,
    labels: Mapping[str, str],
    created_after: datetime | None,
    newest_first: bool,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Job], str | None]:
    query = select(Job).where(Job.project_id == project_id).options(*LIGHT)
    if statuses:
        query = query.where(Job.status.in_(statuses))
    if model is not None:
        query = query.where(Job.model_type == model)
    if name is not None:
        query = query.where(Job.name.contains(name, autoescape=True))
    if labels:
        query = query.where(Job.labels.contains(dict(labels)))
    if created_after is not None:
        query = query.where(Job.created_at > created_after)
    filters = [sorted(statuses), model, name, dict(labels), created_after]
    return fetch_page(
        session, query, Job.id, limit, cursor, newest_first=newest_first, filters=filters
    )


def find_queue_position(session: Session, job: Job) -> int | None:
    """How many claims until this job's turn, over all projects."""
    if job.status is not JobStatus.QUEUED:
        return None
    due = due_jobs().subquery()
    numbered = select(due.c.id, func.row_number().over().label("position")).subquery()
    return session.scalar(select(numbered.c.position).where(numbered.c.id == job.id))


def describe_wait(session: Session, job: Job, queue_position: int | None) -> str | None:
    """What has to happen before this job runs. None: it runs, or it has ended."""
    if job.status is JobStatus.PAUSED:
        return "a call of resume"
    if job.status is not JobStatus.QUEUED:
        return None
    if queue_position is not None:
        return "a free worker"
    if job.not_before > session.scalars(select(func.now())).one():
        return f"its next try, due at {job.not_before.isoformat(timespec='seconds')}"
    return "the end of another job of this project: its cap on running jobs is reached"


# ---------------------------------------------------------------- steering


def cancel(session: Session, job: Job) -> Job:
    if job.status is JobStatus.CANCELLED or job.requested is Requested.CANCEL:
        return job
    return lifecycle.cancel(session, job) or _refuse(session, job, "cancel")


def pause(session: Session, job: Job) -> Job:
    if job.status is JobStatus.PAUSED or job.requested is Requested.PAUSE:
        return job
    return lifecycle.pause(session, job) or _refuse(session, job, "pause")


def resume(session: Session, job: Job) -> Job:
    return lifecycle.resume(session, job) or _refuse(session, job, "resume")


def remove(session: Session, job: Job) -> None:
    """Delete a job that nobody runs or will run, its rows and its files."""
    allowed = [*TERMINAL, JobStatus.PAUSED]
    removed = session.scalar(
        delete(Job)
        .where(Job.id == job.id, Job.status.in_(allowed))
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    )
    if removed is None:
        session.refresh(job)
        raise forbid(job, "delete")
    after_commit(session, partial(remove_folder, get_path(job_key(job.id))))


def _refuse(session: Session, job: Job, action: str) -> Job:
    session.refresh(job)
    raise forbid(job, action)


def forbid(job: Job, action: str) -> Conflict:
    asked = f" and asked to {job.requested}" if job.requested else ""
    return Conflict(f"Cannot {action} this job: it is {job.status}{asked}.")
