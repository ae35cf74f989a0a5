"""Leases: a worker's proof that it owns a job's current attempt.

Their own table, so that heartbeats touch neither jobs nor attempts. Late renewal is allowed while
the row exists: whoever takes the job over deletes it, so existence is the fence.
"""

from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.config import get_settings
from app.jobs.clock import interval, now
from app.jobs.tables import LeaseRow


@dataclass(frozen=True)
class Lease:
    """Proof that one worker owns one job's current attempt."""

    job_id: str
    attempt: int
    attempt_id: int
    worker: str


def grant(session: Session, lease: Lease) -> None:
    values = {
        "attempt": lease.attempt,
        "worker": lease.worker,
        "expires_at": now() + interval(get_settings().lease_seconds),
    }
    statement = insert(LeaseRow).values(job_id=lease.job_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["job_id"], set_=values))


def revoke(session: Session, job_id: str, attempt: int) -> None:
    session.execute(delete(LeaseRow).where(LeaseRow.job_id == job_id, LeaseRow.attempt == attempt))


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
        .values(expires_at=now() + interval(get_settings().lease_seconds))
        .returning(LeaseRow.job_id)
    )
    return renewed is not None


def list_expired(session: Session) -> list[tuple[str, int]]:
    """(job id, attempt) of leases that have run out.

    None until Postgres has been up for one lease: workers could not renew before.
    """
    ttl = interval(get_settings().lease_seconds)
    uptime = now() - func.pg_postmaster_start_time()
    query = select(LeaseRow.job_id, LeaseRow.attempt).where(
        LeaseRow.expires_at < now(), uptime > ttl
    )
    return [(job_id, attempt) for job_id, attempt in session.execute(query)]


def lock_expired(session: Session, job_id: str, attempt: int) -> bool:
    """Whether the lease has still run out, now that nobody can renew it any more."""
    query = select(LeaseRow.job_id).where(
        LeaseRow.job_id == job_id, LeaseRow.attempt == attempt, LeaseRow.expires_at < now()
    )
    return session.scalar(query.with_for_update()) is not None


def list_workers(session: Session, prefix: str) -> list[str]:
    """The workers that hold a lease and whose name starts with `prefix`."""
    query = select(LeaseRow.worker).where(LeaseRow.worker.startswith(prefix, autoescape=True))
    return list(session.scalars(query.distinct()))


def expire(session: Session, worker: str) -> None:
    """Let the leases of a worker run out now, because it is known to be dead."""
    session.execute(update(LeaseRow).where(LeaseRow.worker == worker).values(expires_at=now()))
