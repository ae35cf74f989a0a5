"""Whatever clients, workers and the clock do, in any order: the design's invariants hold.

Hypothesis drives the lifecycle on a real Postgres, next to a model of what should be. Workers keep
leases that they have lost, and go on trying to write.
"""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select

from app.db import transaction
from app.events.tables import Event
from app.jobs import lifecycle
from app.jobs.leases import Lease
from app.jobs.tables import TERMINAL, Attempt, AttemptStatus, Job, JobStatus, LeaseRow, Requested
from app.metrics.tables import Metric
from tests.app.jobs import acts
from tests.app.jobs.acts import Clock
from tests.factories import make_account

MAX_LOSSES = 3
MAX_ATTEMPTS = 3
LONGEST_BACKOFF = 800.0
WORKERS = st.sampled_from(["one", "two", "three"])


@dataclass
class Expected:
    """What a job should look like."""

    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    requested: Requested | None = None
    failures: int = 0
    losses: int = 0
    saved: int = 0  # the newest checkpoint
    resumed: int = 0  # the checkpoint that the attempt went on from
    rows: Counter[int] = field(default_factory=Counter)  # points by attempt

    @property
    def progressed(self) -> bool:
        return self.saved > self.resumed

    def leave(self, without_request: JobStatus) -> None:
        asked = {Requested.CANCEL: JobStatus.CANCELLED, Requested.PAUSE: JobStatus.PAUSED}
        self.status = asked[self.requested] if self.requested else without_request
        self.requested = None


class Lifecycle(RuleBasedStateMachine):
    clock: Clock
    project_id: str
    jobs = Bundle("jobs")
    held = Bundle("held")  # leases, lost ones too

    def __init__(self) -> None:
        super().__init__()
        self.expected: dict[str, Expected] = {}
        self.step = 0

    def teardown(self) -> None:
        with transaction() as session:
            session.execute(delete(Job))

    def is_current(self, lease: Lease) -> bool:
        job = self.expected[lease.job_id]
        return (job.status, job.attempt) == (JobStatus.RUNNING, lease.attempt)

    # ------------------------------------------------------------ clients

    @rule(target=jobs, priority=st.integers(0, 2))
    def submit(self, priority: int) -> str:
        job_id = acts.add_job(
            project_id=self.project_id, max_attempts=MAX_ATTEMPTS, priority=priority
        )
        self.expected[job_id] = Expected()
        return job_id

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        job = self.expected[job_id]
        assert acts.steer(lifecycle.cancel, job_id) == (job.status not in TERMINAL)
        if job.status is JobStatus.RUNNING:
            job.requested = Requested.CANCEL
        elif job.status not in TERMINAL:
            job.status = JobStatus.CANCELLED

    @rule(job_id=jobs)
    def pause(self, job_id: str) -> None:
        job = self.expected[job_id]
        unasked = job.status is JobStatus.RUNNING and job.requested is None
        possible = job.status is JobStatus.QUEUED or unasked
        assert acts.steer(lifecycle.pause, job_id) == possible
        if job.status is JobStatus.QUEUED:
            job.status = JobStatus.PAUSED
        elif unasked:
            job.requested = Requested.PAUSE

    @rule(job_id=jobs)
    def resume(self, job_id: str) -> None:
        job = self.expected[job_id]
        assert acts.steer(lifecycle.resume, job_id) == (job.status is JobStatus.PAUSED)
        if job.status is JobStatus.PAUSED:
            job.status = JobStatus.QUEUED

    # ------------------------------------------------------------ workers

    @rule(target=held, worker=WORKERS)
    def claim(self, worker: str) -> Lease:
        queued = [id for id, job in self.expected.items() if job.status is JobStatus.QUEUED]
        lease = acts.claim(worker)
        if lease is None:  # those that are queued wait for another try
            assert all(self.expected[id].failures or self.expected[id].losses for id in queued)
            return multiple()
        job = self.expected[lease.job_id]
        assert job.status is JobStatus.QUEUED
        job.status, job.attempt, job.resumed = JobStatus.RUNNING, job.attempt + 1, job.saved
        assert lease.attempt == job.attempt
        return lease

    @rule(lease=held)
    def record(self, lease: Lease) -> None:
        self.step += 1
        assert acts.record(lease, self.step) == self.is_current(lease)
        if self.is_current(lease):
            self.expected[lease.job_id].rows[lease.attempt] += 1

    @rule(lease=held)
    def save(self, lease: Lease) -> None:
        self.step += 1
        assert acts.save(lease, self.step) == self.is_current(lease)
        if self.is_current(lease):
            self.expected[lease.job_id].saved = self.step

    @rule(lease=held)
    def renew(self, lease: Lease) -> None:
        assert acts.renew(lease) == self.is_current(lease)

    @rule(lease=held)
    def succeed(self, lease: Lease) -> None:
        current = self.is_current(lease)
        assert acts.succeed(lease) == current
        if current:
            job = self.expected[lease.job_id]
            job.status, job.requested = JobStatus.SUCCEEDED, None

    @rule(lease=held, retry=st.booleans())
    def fail(self, lease: Lease, retry: bool) -> None:
        current = self.is_current(lease)
        assert acts.fail(lease, retry) == current
        if current:
            job = self.expected[lease.job_id]
            job.failures = 1 if job.progressed else job.failures + 1
            again = retry and job.failures < MAX_ATTEMPTS
            job.leave(JobStatus.QUEUED if again else JobStatus.FAILED)

    @rule(lease=consumes(held))
    def hand_back(self, lease: Lease) -> None:
        current = self.is_current(lease)
        assert acts.hand_back(lease) == current
        if current:
            self.expected[lease.job_id].leave(JobStatus.QUEUED)

    # ------------------------------------------------------------ time

    @rule(seconds=st.sampled_from([5.0, 29.0, LONGEST_BACKOFF]))
    def wait(self, seconds: float) -> None:
        self.clock.skip(seconds)

    @rule(worker=WORKERS)
    def lose(self, worker: str) -> None:
        acts.expire(worker)

    @precondition(lambda self: self.expected)
    @rule()
    def reap(self) -> None:
        expired = self.list_expired()
        assert sorted(acts.reap()) == sorted(expired)
        for job_id in expired:
            job = self.expected[job_id]
            job.losses = 1 if job.progressed else job.losses + 1
            job.leave(JobStatus.QUEUED if job.losses < MAX_LOSSES else JobStatus.FAILED)

    def list_expired(self) -> list[str]:
        with transaction() as session:
            query = select(LeaseRow.job_id).where(LeaseRow.expires_at < self.clock.now())
            return list(session.scalars(query))

    # ------------------------------------------------------------ what always holds

    @invariant()
    def every_job_is_as_expected(self) -> None:
        with transaction() as session:
            jobs = {job.id: job for job in session.scalars(select(Job))}
            attempts: dict[str, list[Attempt]] = {job_id: [] for job_id in jobs}
            for attempt in session.scalars(select(Attempt).order_by(Attempt.number)):
                attempts[attempt.job_id].append(attempt)
            leases = {row.job_id: row for row in session.scalars(select(LeaseRow))}
            events = dict(
                session.execute(
                    select(Event.job_id, func.array_agg(Event.seq)).group_by(Event.job_id)
                ).all()
            )
            points = dict(
                session.execute(
                    select(Metric.attempt_id, func.count()).group_by(Metric.attempt_id)
                ).all()
            )
        assert jobs.keys() == self.expected.keys()  # no submission disappears
        for job_id, job in jobs.items():
            check_job(job, self.expected[job_id])
            check_attempts(job, attempts[job_id], leases.get(job_id))
            assert sorted(events[job_id]) == list(range(1, job.event_seq + 1))
            for attempt in attempts[job_id]:  # no row of an attempt after it was left
                expected = self.expected[job_id].rows[attempt.number]
                assert points.get(attempt.id, 0) == expected


def check_job(job: Job, expected: Expected) -> None:
    assert job.status is expected.status
    assert job.attempt == expected.attempt
    assert job.requested == expected.requested
    assert (job.failures, job.losses) == (expected.failures, expected.losses)
    assert job.failures <= MAX_ATTEMPTS
    assert job.losses <= MAX_LOSSES
    assert (job.phase is not None) == (job.status is JobStatus.RUNNING)
    assert (job.finished_at is not None) == (job.status in TERMINAL)
    assert (job.error is not None) == (job.status is JobStatus.FAILED)


def check_attempts(job: Job, attempts: list[Attempt], lease: LeaseRow | None) -> None:
    assert [attempt.number for attempt in attempts] == list(range(1, job.attempt + 1))
    running = [a.number for a in attempts if a.status is AttemptStatus.RUNNING]
    assert running == ([job.attempt] if job.status is JobStatus.RUNNING else [])
    assert (lease and [lease.attempt]) == (running or None)
    succeeded = [a.number for a in attempts if a.status is AttemptStatus.SUCCEEDED]
    assert succeeded == ([job.attempt] if job.status is JobStatus.SUCCEEDED else [])


@pytest.mark.usefixtures("database")
def test_the_lifecycle_keeps_its_invariants(clock, configure):
    configure(max_losses=MAX_LOSSES)
    Lifecycle.clock = clock
    Lifecycle.project_id = make_account().project_id
    random.seed(0)  # the spread of the backoff
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
