"""The only code that writes a job's status. Every write is guarded, so a stale worker loses.

The row of the job is the lock: whoever changes a status, takes over a job, or writes as its worker
first updates that row, so writes of one job are serial and `events.seq` has no gap. Lock order is
job, attempt, lease.
"""

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy.orm import Session

from app import faults, hints
from app.checkpoints.tables import Checkpoint
from app.config import get_settings
from app.db import after_commit
from app.events.service import NewEvent, append_events, has_new_fold
from app.jobs import leases
from app.jobs.clock import interval, now
from app.jobs.failures import complete_error
from app.jobs.fairness import due_jobs
from app.jobs.leases import Lease
from app.jobs.tables import (
    TERMINAL,
    Attempt,
    AttemptStatus,
    Job,
    JobStatus,
    Phase,
    Reason,
    Requested,
)

BACKOFF_CAP_SECONDS = 600.0
CLAIM_LOCK = 0x636C_6169_6D


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


def add(session: Session, job: Job, warnings: Sequence[str] = ()) -> Job:
    """Store a new queued job and wake a worker once that is durable.

    Its feed begins with the `warnings` about its spec.
    """
    events = [NewEvent("state", _state(JobStatus.QUEUED))]
    events += [NewEvent("warning", {"message": warning}) for warning in warnings]
    job.event_seq = len(events)
    session.add(job)
    session.flush()
    append_events(session, job.id, None, job.event_seq, events)
    after_commit(session, hints.hint_work)
    return job


# ---------------------------------------------------------------- what a worker does


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
        started_at=func.coalesce(Job.started_at, now()),
    )
    assert job is not None  # the row is locked and was queued
    inherited_step = job.retry_from["step"] if job.retry_from else 0
    resume_step = session.scalar(
        select(func.max(Checkpoint.step)).where(Checkpoint.job_id == job.id)
    )
    attempt_id = session.scalars(
        insert(Attempt)
        .values(
            job_id=job.id,
            number=job.attempt,
            worker=worker,
            resume_step=max(resume_step or 0, inherited_step),
            status=AttemptStatus.RUNNING,
        )
        .returning(Attempt.id)
    ).one()
    lease = Lease(job.id, job.attempt, attempt_id, worker)
    leases.grant(session, lease)
    faults.reach("claim.before_commit")
    return lease


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
    first_step = func.coalesce(Job.first_step_at, now()) if progress.get("step") else None
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
        .values(status=status, exit=exit, ended_at=now())
    )
    leases.revoke(session, job_id, attempt)


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
    failures = 1 if _has_progressed(session, job) else job.failures + 1
    max_attempts = int(job.spec["limits"]["max_attempts"])
    _end_attempt(
        session, lease.job_id, lease.attempt, AttemptStatus.FAILED, {"reason": reason, **error}
    )
    again = retry and failures < max_attempts
    if again and job.requested is None:
        return _requeue(session, job, failures=failures, delay=_backoff(failures))
    status = _requested_status(job.requested)
    if status is JobStatus.PAUSED and again:
        message = f"{error['message']}; the job is paused as of its last checkpoint"
        record(session, lease, [NewEvent("warning", {"message": message})])
    elif status is not JobStatus.CANCELLED:
        outcome = {"reason": reason, "error": complete_error(session, job.id, error)}
        return _leave_running(session, job, JobStatus.FAILED, failures=failures, **outcome)
    return _leave_running(session, job, status, failures=failures)


def refuse_pause(session: Session, lease: Lease) -> None:
    """Training goes on, because its state could not be saved. A request to cancel stays."""
    guard = [*_owned_by(lease), Job.requested == Requested.PAUSE]
    _change(session, lease.job_id, guard, requested=None)


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
    finished = {"finished_at": now()} if status in TERMINAL else {}
    faults.reach("finish.before_commit")
    guard = [Job.status == JobStatus.RUNNING]
    changed = _change(
        session, job.id, guard, status=status, phase=None, requested=None, **finished, **values
    )
    return changed is not None


def _has_progressed(session: Session, job: Job) -> bool:
    """Whether the current attempt saved a checkpoint beyond the one that it went on from, or
    finished a fold of the cross-validation.

    Caps count failures and losses in a row that gained nothing: a job of many weeks may meet more.
    """
    query = (
        select(Checkpoint.id)
        .join(Attempt, Attempt.id == Checkpoint.attempt_id)
        .where(Attempt.job_id == job.id, Attempt.number == job.attempt)
        .where(Checkpoint.step > Attempt.resume_step)
    )
    saved = session.scalar(query.limit(1)) is not None
    return saved or has_new_fold(session, job.id, job.attempt)


def _requeue(session: Session, job: Job, delay: float, **values: Any) -> bool:
    changed = _change(
        session,
        job.id,
        [Job.status == JobStatus.RUNNING],
        status=JobStatus.QUEUED,
        phase=None,
        not_before=now() + interval(delay),
        **values,
    )
    after_commit(session, hints.hint_work)
    return changed is not None


def _backoff(count: int) -> float:
    delay = min(BACKOFF_CAP_SECONDS, get_settings().backoff_seconds * 2.0 ** (count - 1))
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing


# ---------------------------------------------------------------- what the reconciler does


def reap(session: Session) -> list[str]:
    """Take jobs from workers whose lease has run out. Returns their ids."""
    return [
        job_id
        for job_id, attempt in leases.list_expired(session)
        if _reap_one(session, job_id, attempt)
    ]


def _reap_one(session: Session, job_id: str, attempt: int) -> bool:
    job = session.scalar(
        select(Job)
        .where(Job.id == job_id, Job.attempt == attempt, Job.status == JobStatus.RUNNING)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if job is None or not leases.lock_expired(session, job_id, attempt):
        return False
    faults.reach("reap.before_commit")
    progressed = _has_progressed(session, job)
    _end_attempt(session, job_id, attempt, AttemptStatus.LOST, {"reason": Reason.LOST})
    losses = 1 if progressed else job.losses + 1
    status = _requested_status(job.requested)
    if status is not None:
        return _leave_running(session, job, status, losses=losses)
    if losses >= get_settings().max_losses:
        error = {
            "message": f"the worker was lost {losses} times",
            "hint": "A job that takes its machine down with it looks like this: check its memory.",
        }
        outcome = {"reason": Reason.LOST, "error": complete_error(session, job.id, error)}
        return _leave_running(session, job, JobStatus.FAILED, losses=losses, **outcome)
    delay = 0.0 if losses == 1 else _backoff(losses - 1)
    return _requeue(session, job, losses=losses, delay=delay)


# ---------------------------------------------------------------- what a client asks for


def _lock(session: Session, job: Job) -> None:
    """Hold the status still: a job that starts or goes back meanwhile would match no guard."""
    session.execute(select(Job.id).where(Job.id == job.id).with_for_update(key_share=True))


def cancel(session: Session, job: Job) -> Job | None:
    """Cancel now if nobody runs the job, else ask its worker to. None: it has ended."""
    _lock(session, job)
    waiting = [Job.status.in_([JobStatus.QUEUED, JobStatus.PAUSED])]
    values = {"status": JobStatus.CANCELLED, "finished_at": now()}
    return _change(session, job.id, waiting, **values) or _change(
        session, job.id, [Job.status == JobStatus.RUNNING], requested=Requested.CANCEL
    )


def pause(session: Session, job: Job) -> Job | None:
    """Pause now if nobody runs the job, else ask its worker to. None: it cannot be paused."""
    _lock(session, job)
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
        not_before=now(),
    )
    after_commit(session, hints.hint_work)
    return changed
