"""The only code that writes a job's status. Every write is guarded, so a stale worker loses.

The row of the job is the lock: whoever changes a status, takes over a job, or writes as its worker
first updates that row, so writes of one job are serial and `events.seq` has no gap. Lock order is
job, attempt, lease.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session, aliased

from app import hints
from app.checkpoints.tables import Checkpoint
from app.config import get_settings
from app.db import after_commit
from app.events.service import NewEvent, append_events
from app.jobs.tables import (
    TERMINAL,
    Attempt,
    AttemptStatus,
    Job,
    JobStatus,
    LeaseRow,
    Phase,
    Reason,
    Requested,
)
from app.projects.tables import Project

BACKOFF_SECONDS = 5.0
BACKOFF_CAP_SECONDS = 600.0
FAIRNESS_WINDOW_SECONDS = 86_400.0
CLAIM_LOCK = 0x636C_6169_6D


@dataclass(frozen=True)
class Lease:
    """Proof that one worker owns one job's current attempt."""

    job_id: str
    attempt: int
    attempt_id: int
    worker: str


def _seconds(value: float) -> ColumnElement[Any]:
    return text(f"make_interval(secs => {float(value)})")  # type: ignore[return-value]


def _now() -> ColumnElement[Any]:
    return func.clock_timestamp()


def _change(
    session: Session, job_id: str, guard: Sequence[ColumnElement[bool]], **values: Any
) -> Job | None:
    """Update a job if `guard` holds and write the state event. None: the guard did not hold."""
    statement = (
        update(Job)
        .where(Job.id == job_id, *guard)
        .values(event_seq=Job.event_seq + 1, **values)
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    job = session.scalars(statement).one_or_none()
    if job is None:
        return None
    data = _state(job.status, job.phase, job.requested, job.reason, job.error)
    append_events(session, job.id, job.attempt or None, job.event_seq, [NewEvent("state", data)])
    return job


def _state(
    status: JobStatus,
    phase: Phase | None = None,
    requested: Requested | None = None,
    reason: Reason | None = None,
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "status": status,
        "phase": phase,
        "requested": requested,
        "reason": reason,
        "error": error,
    }


def add(session: Session, job: Job) -> Job:
    """Store a new queued job and wake a worker once that is durable."""
    job.event_seq = 1
    session.add(job)
    session.flush()
    append_events(session, job.id, None, 1, [NewEvent("state", _state(JobStatus.QUEUED))])
    after_commit(session, hints.hint_work)
    return job


# ---------------------------------------------------------------- what a worker does


def _used_seconds() -> Subquery:
    """Worker time per project over the last day, running attempts included."""
    ended = func.coalesce(Attempt.ended_at, _now())
    seconds = func.sum(func.extract("epoch", ended - Attempt.started_at))
    return (
        select(Job.project_id, seconds.label("seconds"))
        .join(Attempt, Attempt.job_id == Job.id)
        .where(ended > _now() - _seconds(FAIRNESS_WINDOW_SECONDS))
        .group_by(Job.project_id)
        .subquery()
    )


def due_jobs() -> Select[tuple[str]]:
    """Ids of the jobs that may start now, best first.

    Highest priority, then the project that used the least worker time lately, then the oldest.
    """
    used, running = _used_seconds(), aliased(Job)
    running_jobs = (
        select(func.count())
        .where(running.project_id == Job.project_id, running.status == JobStatus.RUNNING)
        .scalar_subquery()
    )
    return (
        select(Job.id)
        .join(Project, Project.id == Job.project_id)
        .outerjoin(used, used.c.project_id == Job.project_id)
        .where(Job.status == JobStatus.QUEUED, Job.not_before <= _now())
        .where(or_(Project.max_running.is_(None), running_jobs < Project.max_running))
        .order_by(Job.priority.desc(), func.coalesce(used.c.seconds, 0), Job.id)
    )


def claim(session: Session, worker: str) -> Lease | None:
    """Take the best due job. None: nothing is due.

    Claims take turns, so that two of them cannot overrun a project's cap.
    """
    session.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))
    best = due_jobs().limit(1).with_for_update(of=Job, skip_locked=True, key_share=True)
    job_id = session.scalar(best)
    if job_id is None:
        return None
    job = _change(
        session,
        job_id,
        [Job.status == JobStatus.QUEUED],
        status=JobStatus.RUNNING,
        phase=Phase.PREPARING,
        attempt=Job.attempt + 1,
        batch=0,
        started_at=func.coalesce(Job.started_at, _now()),
    )
    assert job is not None  # the row is locked and was queued
    resume_step = session.scalar(
        select(func.max(Checkpoint.step)).where(Checkpoint.job_id == job.id)
    )
    attempt_id = session.scalars(
        insert(Attempt)
        .values(
            job_id=job.id,
            number=job.attempt,
            worker=worker,
            resume_step=resume_step or 0,
            status=AttemptStatus.RUNNING,
        )
        .returning(Attempt.id)
    ).one()
    lease = {
        "attempt": job.attempt,
        "worker": worker,
        "expires_at": _now() + _seconds(get_settings().lease_seconds),
    }
    session.execute(
        upsert(LeaseRow)
        .values(job_id=job.id, **lease)
        .on_conflict_do_update(index_elements=[LeaseRow.job_id], set_=lease)
    )
    return Lease(job.id, job.attempt, attempt_id, worker)


def renew(session: Session, lease: Lease) -> bool:
    """Extend the lease. False: the job was taken over; stop at once.

    Late renewal is allowed while the row exists: the reaper deletes it when it takes over.
    """
    renewed = session.scalar(
        update(LeaseRow)
        .where(
            LeaseRow.job_id == lease.job_id,
            LeaseRow.attempt == lease.attempt,
            LeaseRow.worker == lease.worker,
        )
        .values(expires_at=_now() + _seconds(get_settings().lease_seconds))
        .returning(LeaseRow.job_id)
    )
    return renewed is not None


def read_request(session: Session, lease: Lease) -> Requested | None:
    """What a client has asked of the running job since."""
    return session.scalar(select(Job.requested).where(Job.id == lease.job_id))


def _owned_by(lease: Lease) -> list[ColumnElement[bool]]:
    return [Job.attempt == lease.attempt, Job.status == JobStatus.RUNNING]


def record(
    session: Session, lease: Lease, events: Sequence[NewEvent] = (), **progress: Any
) -> bool:
    """Lock the job for this transaction's writes and append `events`. False: taken over.

    Every write of a worker goes through here first: the guarded update is the fence.
    """
    first_step = func.coalesce(Job.first_step_at, _now()) if progress.get("step") else None
    statement = (
        update(Job)
        .where(Job.id == lease.job_id, *_owned_by(lease))
        .values(
            event_seq=Job.event_seq + len(events),
            **({} if first_step is None else {"first_step_at": first_step}),
            **progress,
        )
        .returning(Job.event_seq)
        .execution_options(synchronize_session=False)
    )
    last_seq = session.scalar(statement)
    if last_seq is None:
        return False
    append_events(session, lease.job_id, lease.attempt, last_seq, events)
    return True


def phase_event(phase: Phase) -> NewEvent:
    """The event to `record` beside `phase=phase`."""
    return NewEvent("state", _state(JobStatus.RUNNING, phase=phase))


def is_recorded(session: Session, lease: Lease, batch: int) -> bool:
    """Whether `batch` was committed although the answer to its commit was lost."""
    query = select(Job.id).where(
        Job.id == lease.job_id, Job.attempt == lease.attempt, Job.batch == batch
    )
    return session.scalar(query) is not None


def set_resume_step(session: Session, lease: Lease, step: int) -> None:
    """The checkpoint that this attempt really went on from, where the newest was unusable."""
    session.execute(
        update(Attempt)
        .where(Attempt.id == lease.attempt_id, Attempt.status == AttemptStatus.RUNNING)
        .values(resume_step=step)
    )


def _end_attempt(
    session: Session, job_id: str, attempt: int, status: AttemptStatus, exit: dict[str, Any] | None
) -> None:
    session.execute(
        update(Attempt)
        .where(
            Attempt.job_id == job_id,
            Attempt.number == attempt,
            Attempt.status == AttemptStatus.RUNNING,
        )
        .values(status=status, exit=exit, ended_at=_now())
    )
    session.execute(delete(LeaseRow).where(LeaseRow.job_id == job_id, LeaseRow.attempt == attempt))


def _lock_owned(session: Session, lease: Lease) -> Job | None:
    return session.scalar(
        select(Job).where(Job.id == lease.job_id, *_owned_by(lease)).with_for_update(key_share=True)
    )


def succeed(session: Session, lease: Lease, evaluation: dict[str, Any]) -> bool:
    job = _lock_owned(session, lease)
    if job is None:
        return False
    _end_attempt(session, lease.job_id, lease.attempt, AttemptStatus.SUCCEEDED, None)
    return _leave_running(
        session, job, JobStatus.SUCCEEDED, evaluation=evaluation, eta_seconds=None
    )


def fail(
    session: Session, lease: Lease, reason: Reason, error: dict[str, Any], retry: bool = True
) -> bool:
    """End the attempt as failed; queue the job again if that may help and its caps allow it."""
    job = _lock_owned(session, lease)
    if job is None:
        return False
    failures = job.failures + 1
    max_attempts = int(job.spec["limits"]["max_attempts"])
    _end_attempt(
        session, lease.job_id, lease.attempt, AttemptStatus.FAILED, {"reason": reason, **error}
    )
    again = retry and failures < max_attempts
    if again and job.requested is None:
        return _requeue(session, job, failures=failures, delay=_backoff(failures))
    status = _requested_status(job.requested) or JobStatus.FAILED
    outcome = {"reason": reason, "error": error} if status is JobStatus.FAILED else {}
    return _leave_running(session, job, status, failures=failures, **outcome)


def hand_back(session: Session, lease: Lease) -> bool:
    """End the attempt without a failure: as its client asked, else queue the job again."""
    job = _lock_owned(session, lease)
    if job is None:
        return False
    status = _requested_status(job.requested)
    ended = AttemptStatus(status) if status else AttemptStatus.RELEASED
    _end_attempt(session, lease.job_id, lease.attempt, ended, None)
    return _leave_running(session, job, status) if status else _requeue(session, job, delay=0)


def _requested_status(requested: Requested | None) -> JobStatus | None:
    match requested:
        case Requested.CANCEL:
            return JobStatus.CANCELLED
        case Requested.PAUSE:
            return JobStatus.PAUSED
        case None:
            return None


def _leave_running(session: Session, job: Job, status: JobStatus, **values: Any) -> bool:
    finished = {"finished_at": _now()} if status in TERMINAL else {}
    guard = [Job.status == JobStatus.RUNNING]
    changed = _change(
        session, job.id, guard, status=status, phase=None, requested=None, **finished, **values
    )
    return changed is not None


def _requeue(session: Session, job: Job, delay: float, **values: Any) -> bool:
    changed = _change(
        session,
        job.id,
        [Job.status == JobStatus.RUNNING],
        status=JobStatus.QUEUED,
        phase=None,
        not_before=_now() + _seconds(delay),
        **values,
    )
    after_commit(session, hints.hint_work)
    return changed is not None


def _backoff(count: int) -> float:
    delay = min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * 2.0 ** (count - 1))
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing


# ---------------------------------------------------------------- what the reconciler does


def list_workers(session: Session, prefix: str) -> list[str]:
    """The workers that hold a lease and whose name starts with `prefix`."""
    query = select(LeaseRow.worker).where(LeaseRow.worker.startswith(prefix, autoescape=True))
    return list(session.scalars(query.distinct()))


def expire(session: Session, worker: str) -> None:
    """Let the leases of a worker run out now, because it is known to be dead."""
    session.execute(update(LeaseRow).where(LeaseRow.worker == worker).values(expires_at=_now()))


def reap(session: Session) -> list[str]:
    """Take jobs from workers whose lease has run out. Returns their ids.

    Nothing is reaped until Postgres has been up for one lease: workers could not renew before.
    """
    ttl = _seconds(get_settings().lease_seconds)
    uptime = _now() - func.pg_postmaster_start_time()
    expired = select(LeaseRow.job_id, LeaseRow.attempt).where(
        LeaseRow.expires_at < _now(), uptime > ttl
    )
    return [
        job_id
        for job_id, attempt in session.execute(expired).tuples().all()
        if _reap_one(session, job_id, attempt)
    ]


def _reap_one(session: Session, job_id: str, attempt: int) -> bool:
    job = session.scalar(
        select(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.status == JobStatus.RUNNING)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if job is None:
        return False
    still_expired = session.scalar(
        select(LeaseRow.job_id)
        .where(LeaseRow.job_id == job_id, LeaseRow.attempt == attempt, LeaseRow.expires_at < _now())
        .with_for_update()
    )
    if still_expired is None:
        return False
    _end_attempt(session, job_id, attempt, AttemptStatus.LOST, {"reason": Reason.LOST})
    losses = job.losses + 1
    status = _requested_status(job.requested)
    if status is not None:
        return _leave_running(session, job, status, losses=losses)
    if losses >= get_settings().max_losses:
        error = {
            "message": f"the worker was lost {losses} times",
            "hint": "A job that takes its machine down with it looks like this: check its memory.",
        }
        return _leave_running(
            session, job, JobStatus.FAILED, losses=losses, reason=Reason.LOST, error=error
        )
    delay = 0.0 if losses == 1 else _backoff(losses - 1)
    return _requeue(session, job, losses=losses, delay=delay)


def count_due(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(due_jobs().subquery())) or 0


# ---------------------------------------------------------------- what a client asks for


def cancel(session: Session, job: Job) -> Job | None:
    """Cancel now if nobody runs the job, else ask its worker to. None: it has ended."""
    waiting = [Job.status.in_([JobStatus.QUEUED, JobStatus.PAUSED])]
    values = {"status": JobStatus.CANCELLED, "finished_at": _now()}
    return _change(session, job.id, waiting, **values) or _change(
        session, job.id, [Job.status == JobStatus.RUNNING], requested=Requested.CANCEL
    )


def pause(session: Session, job: Job) -> Job | None:
    """Pause now if nobody runs the job, else ask its worker to. None: it cannot be paused."""
    waiting = [Job.status == JobStatus.QUEUED]
    running = [Job.status == JobStatus.RUNNING, Job.requested.is_(None)]
    return _change(session, job.id, waiting, status=JobStatus.PAUSED) or _change(
        session, job.id, running, requested=Requested.PAUSE
    )


def resume(session: Session, job: Job) -> Job | None:
    """Queue a paused job again. None: it is not paused."""
    changed = _change(
        session,
        job.id,
        [Job.status == JobStatus.PAUSED],
        status=JobStatus.QUEUED,
        not_before=_now(),
    )
    after_commit(session, hints.hint_work)
    return changed
