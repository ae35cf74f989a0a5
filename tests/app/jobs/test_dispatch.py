"""Wake-ups may be lost, doubled or late: the reconciler makes up for it."""

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import hints, queue
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.dispatch import ADVISORY_LOCK, MAX_WAKE_UPS, reconcile
from app.jobs.tables import Job, JobStatus
from tests.app.jobs import acts
from tests.app.jobs.acts import race
from tests.factories import claim_job

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(autouse=True)
def empty_queue(stack):
    wait_for_hints()
    queue.get_redis().flushall()


def wait_for_hints() -> None:
    """The sender is one thread: what was sent before this has been sent."""
    hints.get_sender().submit(lambda: None).result(timeout=10)


def count_wake_ups() -> int:
    wait_for_hints()
    return queue.count_wake_ups()


def test_a_job_wakes_a_worker_once_it_is_committed_and_not_before():
    job_id = acts.add_job()
    assert count_wake_ups() == 1
    assert acts.steer(lifecycle.pause, job_id)

    with transaction() as session:
        assert lifecycle.resume(session, session.get_one(Job, job_id)) is not None
        assert count_wake_ups() == 1

    assert count_wake_ups() == 2


def test_a_job_that_is_rolled_back_wakes_nobody():
    job_id = acts.add_job()
    assert acts.steer(lifecycle.pause, job_id)
    count_wake_ups()
    queue.get_redis().flushall()

    def resume_and_fail(session: Session, job: Job) -> None:
        assert lifecycle.resume(session, job) is not None
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        acts.steer(resume_and_fail, job_id)

    assert count_wake_ups() == 0
    assert acts.read(job_id).status is JobStatus.PAUSED


def test_after_redis_was_flushed_the_wake_ups_of_100_queued_jobs_are_sent_again():
    acts.add_jobs(100)
    wait_for_hints()
    queue.get_redis().flushall()

    reconcile()

    assert count_wake_ups() == MAX_WAKE_UPS  # a worker that is awake takes every due job
    reconcile()
    assert count_wake_ups() == MAX_WAKE_UPS


def test_wake_ups_that_still_wait_are_not_sent_twice():
    acts.add_jobs(3)
    assert count_wake_ups() == 3

    reconcile()

    assert count_wake_ups() == 3


def test_nothing_is_sent_for_jobs_that_are_not_due():
    acts.add_job()
    assert acts.fail(claim_job())  # waits for its second try
    wait_for_hints()
    queue.get_redis().flushall()

    reconcile()

    assert count_wake_ups() == 0


def test_reconcilers_that_nothing_keeps_apart_reap_a_job_once(clock):
    job_ids = acts.add_jobs(20)
    for _ in job_ids:
        claim_job("lost")
    acts.expire("lost")

    reaped = race(*[acts.reap] * 4)

    assert sorted(job_id for share in reaped for job_id in share) == job_ids
    for job_id in job_ids:
        job = acts.read(job_id)
        assert (job.status, job.losses, job.attempt) == (JobStatus.QUEUED, 1, 1)


def test_a_reconciler_leaves_the_round_to_one_that_is_at_it(clock):
    job_id = acts.add_job()
    claim_job("lost")
    acts.expire("lost")
    with transaction() as session:
        assert session.scalar(select(func.pg_try_advisory_xact_lock(ADVISORY_LOCK)))
        reconcile()
        assert acts.read(job_id).status is JobStatus.RUNNING

    reconcile()
    assert acts.read(job_id).status is JobStatus.QUEUED


def test_lost_workers_are_found_also_while_redis_is_away(clock, monkeypatch):
    job_id = acts.add_job()
    claim_job("lost")
    acts.expire("lost")

    def refuse() -> int:
        raise RedisConnectionError

    monkeypatch.setattr(queue, "count_wake_ups", refuse)
    with pytest.raises(RedisConnectionError):
        reconcile()

    assert acts.read(job_id).status is JobStatus.QUEUED
