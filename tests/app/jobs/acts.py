"""What clients, workers and the reconciler do to a job, each in a transaction of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.checkpoints.service import add_checkpoint
from app.db import transaction
from app.events.service import NewEvent
from app.events.tables import Event
from app.jobs import leases, lifecycle
from app.jobs.clock import interval
from app.jobs.leases import Lease
from app.jobs.tables import TERMINAL, Attempt, Job, JobStatus, LeaseRow, Reason
from app.metrics.ingest import add_points
from tests.factories import make_account, make_dataset

ERROR = {"message": "it broke", "hint": ""}


class Clock:
    """Postgres' clock as the code sees it; it only goes on when told to, or by itself."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0

    def now(self) -> ColumnElement[Any]:
        return func.clock_timestamp() + interval(self.ahead_seconds)

    def skip(self, seconds: float) -> None:
        self.ahead_seconds += seconds


def add_jobs(
    count: int, project_id: str | None = None, max_attempts: int = 3, **values: Any
) -> list[str]:
    """Queue jobs, oldest first, in a new project unless one is named."""
    project_id = project_id or make_account().project_id
    dataset_id = make_dataset(project_id)
    with transaction() as session:
        jobs = [
            Job(
                project_id=project_id,
                dataset_id=dataset_id,
                name="test",
                model_type="logistic",
                spec={"limits": {"max_attempts": max_attempts}},
                **values,
            )
            for _ in range(count)
        ]
        return [lifecycle.add(session, job).id for job in jobs]


def add_job(**values: Any) -> str:
    [job_id] = add_jobs(1, **values)
    return job_id


def claim(worker: str = "worker") -> Lease | None:
    with transaction() as session:
        return lifecycle.claim(session, worker)


def record(lease: Lease, step: int = 1, delay: float = 0.0) -> bool:
    """One batch of a worker: progress, a point and an event. Commits `delay` seconds later."""
    with transaction() as session:
        if not lifecycle.record(session, lease, [NewEvent("log", {"lines": ["."]})], step=step):
            return False
        add_points(session, lease.attempt_id, [("train/loss", step, 0.5)])
        time.sleep(delay)
        return True


def save(lease: Lease, step: int) -> bool:
    """The row of a checkpoint, without its files."""
    with transaction() as session:
        if not lifecycle.record(session, lease, step=step):
            return False
        row = add_checkpoint(
            session,
            job_id=lease.job_id,
            attempt_id=lease.attempt_id,
            step=step,
            epoch=1.0,
            path=f"jobs/{lease.job_id}/a{lease.attempt}/s{step}",
            files={},
            metrics={},
            best=False,
        )
        return lifecycle.record(session, lease, [NewEvent("checkpoint", {"id": row.id})])


def tell_folds(lease: Lease, *folds: int) -> bool:
    with transaction() as session:
        return lifecycle.record(session, lease, [NewEvent("fold", {"fold": n}) for n in folds])


def renew(lease: Lease) -> bool:
    with transaction() as session:
        return leases.renew(session, lease)


def fail(lease: Lease, retry: bool = True) -> bool:
    with transaction() as session:
        return lifecycle.fail(session, lease, Reason.CRASHED, ERROR, retry=retry)


def succeed(lease: Lease) -> bool:
    with transaction() as session:
        return lifecycle.succeed(session, lease, {})


def hand_back(lease: Lease) -> bool:
    with transaction() as session:
        return lifecycle.hand_back(session, lease)


def expire(worker: str) -> None:
    with transaction() as session:
        leases.expire(session, worker)


def reap() -> list[str]:
    with transaction() as session:
        return lifecycle.reap(session)


def steer(action: Callable[[Session, Job], Job | None], job_id: str) -> bool:
    """Cancel, pause or resume. False: refused."""
    with transaction() as session:
        return action(session, session.get_one(Job, job_id)) is not None


def read(job_id: str) -> Job:
    with transaction() as session:
        return session.get_one(Job, job_id)


def list_attempts(job_id: str) -> Sequence[Attempt]:
    with transaction() as session:
        query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)
        return session.scalars(query).all()


def list_feed(job_id: str) -> Sequence[Event]:
    with transaction() as session:
        query = select(Event).where(Event.job_id == job_id).order_by(Event.seq)
        return session.scalars(query).all()


def list_ends(job_id: str) -> list[JobStatus]:
    """The terminal states in the feed of a job."""
    states = [event.data["status"] for event in list_feed(job_id) if event.type == "state"]
    return [JobStatus(status) for status in states if status in TERMINAL]


def count_leases(job_id: str) -> int:
    with transaction() as session:
        query = select(func.count()).select_from(LeaseRow).where(LeaseRow.job_id == job_id)
        return session.scalar(query) or 0


def race(*actions: Callable[[], Any]) -> list[Any]:
    """Start all at the same moment, each in a thread; their answers."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait(timeout=30)
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))
