"""What a failed job says, and what becomes of a request to stop that could not be met."""

import pytest

from app.checkpoints.tables import Checkpoint
from app.db import transaction
from app.events.service import NewEvent
from app.jobs import lifecycle
from app.jobs.leases import Lease
from app.jobs.tables import JobStatus, Reason, Requested
from tests.app.jobs import acts

pytestmark = pytest.mark.usefixtures("database")


def start(**values) -> Lease:
    acts.add_job(**values)
    lease = acts.claim()
    assert lease is not None
    return lease


def log(lease: Lease, *lines: str) -> None:
    with transaction() as session:
        assert lifecycle.record(session, lease, [NewEvent("log", {"lines": list(lines)})])


def test_a_failed_job_shows_the_end_of_its_log_and_its_last_checkpoint():
    lease = start(max_attempts=1)
    log(lease, *(f"line {i}" for i in range(15)))
    log(lease, *(f"line {i}" for i in range(15, 30)))
    acts.save(lease, 10)
    acts.save(lease, 20)

    acts.fail(lease)

    error = acts.read(lease.job_id).error
    assert error["log_tail"] == [f"line {i}" for i in range(10, 30)]
    with transaction() as session:
        assert session.get_one(Checkpoint, error["checkpoint"]["id"]).step == 20
    assert error["checkpoint"]["step"] == 20


def test_what_the_worker_has_read_of_the_log_goes_before_what_is_stored():
    lease = start()
    log(lease, "stored")
    with transaction() as session:
        error = acts.ERROR | {"log_tail": ["read"], "traceback": None}
        lifecycle.fail(session, lease, Reason.CRASHED, error, retry=False)
    error = acts.read(lease.job_id).error
    assert error["log_tail"] == ["read"]
    assert "traceback" not in error


def test_a_lost_job_says_as_much(clock, configure):
    configure(max_losses=1)
    lease = start()
    log(lease, "the last that was heard of it")
    acts.expire(lease.worker)
    clock.skip(60)

    assert acts.reap() == [lease.job_id]

    job = acts.read(lease.job_id)
    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.LOST)
    assert job.error["log_tail"] == ["the last that was heard of it"]
    assert job.error["hint"]


# ---------------------------------------------------------------- stops that could not be met


def refuse(lease: Lease) -> None:
    with transaction() as session:
        lifecycle.refuse_pause(session, lease)


def test_a_refused_pause_leaves_the_job_running_and_shows_in_the_feed():
    lease = start()
    acts.steer(lifecycle.pause, lease.job_id)

    refuse(lease)

    job = acts.read(lease.job_id)
    assert (job.status, job.requested) == (JobStatus.RUNNING, None)
    asked, refused = acts.list_feed(lease.job_id)[-2:]
    assert (asked.data["requested"], refused.data["requested"]) == ("pause", None)
    assert acts.steer(lifecycle.pause, lease.job_id)


def test_a_request_to_cancel_is_not_refused_with_the_pause_before_it():
    lease = start()
    acts.steer(lifecycle.pause, lease.job_id)
    acts.steer(lifecycle.cancel, lease.job_id)

    refuse(lease)

    assert acts.read(lease.job_id).requested is Requested.CANCEL


def test_a_worker_that_has_lost_the_job_refuses_nothing(clock):
    lease = start()
    acts.expire(lease.worker)
    clock.skip(60)
    acts.reap()
    clock.skip(600)
    assert acts.claim("another") is not None
    acts.steer(lifecycle.pause, lease.job_id)

    refuse(lease)

    assert acts.read(lease.job_id).requested is Requested.PAUSE


def test_a_crash_on_the_way_to_a_pause_pauses_and_warns():
    lease = start()
    acts.steer(lifecycle.pause, lease.job_id)

    acts.fail(lease)

    job = acts.read(lease.job_id)
    assert (job.status, job.failures) == (JobStatus.PAUSED, 1)
    warning = next(e for e in acts.list_feed(lease.job_id) if e.type == "warning")
    assert "as of its last checkpoint" in warning.data["message"]


def test_a_failure_that_would_come_again_is_not_hidden_by_a_pause():
    lease = start()
    acts.steer(lifecycle.pause, lease.job_id)

    acts.fail(lease, retry=False)

    assert acts.read(lease.job_id).status is JobStatus.FAILED


def test_a_failing_job_that_was_to_be_cancelled_is_cancelled():
    lease = start()
    acts.steer(lifecycle.cancel, lease.job_id)

    acts.fail(lease, retry=False)

    job = acts.read(lease.job_id)
    assert (job.status, job.error) == (JobStatus.CANCELLED, None)
