"""Statuses change in one place, under one lock: what stale workers and races cannot do."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.checkpoints.tables import Checkpoint
from app.db import transaction
from app.events.service import NewEvent
from app.events.tables import Event
from app.jobs import leases, lifecycle
from app.jobs.tables import AttemptStatus, JobStatus, Phase, Reason, Requested
from app.metrics.tables import Metric
from tests.app.jobs import acts
from tests.app.jobs.acts import race
from tests.factories import claim_job

pytestmark = pytest.mark.usefixtures("database")
ROUNDS = 60  # of each race
A_LEASE = 31.0  # seconds; the default is 30


def take_over(clock, worker: str = "second"):
    """Let every lease run out and claim again."""
    clock.skip(A_LEASE)
    assert acts.reap()
    return claim_job(worker)


# ---------------------------------------------------------------- claiming


def test_only_one_worker_claims_a_job():
    acts.add_job()

    claims = race(*[lambda n=n: acts.claim(f"worker {n}") for n in range(6)])

    assert len([lease for lease in claims if lease is not None]) == 1


def test_six_workers_claim_400_jobs_once_each():
    job_ids = acts.add_jobs(400)

    def work(worker: str) -> list[str]:
        claimed = []
        while (lease := acts.claim(worker)) is not None:
            claimed.append(lease.job_id)
        return claimed

    shares = race(*[lambda n=n: work(f"worker {n}") for n in range(6)])

    assert sorted(job_id for share in shares for job_id in share) == sorted(job_ids)


def test_a_claim_starts_an_attempt_that_goes_on_from_the_newest_checkpoint(clock):
    job_id = acts.add_job()
    lease = claim_job("first")
    assert acts.save(lease, 10)
    assert acts.save(lease, 20)

    second = take_over(clock)

    job = acts.read(job_id)
    assert (job.status, job.phase, job.attempt) == (JobStatus.RUNNING, Phase.PREPARING, 2)
    assert (second.job_id, second.attempt) == (job_id, 2)
    first, last = acts.list_attempts(job_id)
    assert (first.status, first.exit) == (AttemptStatus.LOST, {"reason": "lost"})
    assert (last.status, last.resume_step, last.worker) == (AttemptStatus.RUNNING, 20, "second")


# ---------------------------------------------------------------- the fence


def write_checkpoint_row(lease) -> bool:
    return acts.save(lease, 99)


@pytest.mark.parametrize(
    "write",
    [
        acts.record,
        write_checkpoint_row,
        acts.renew,
        acts.succeed,
        acts.fail,
        acts.hand_back,
    ],
)
def test_a_worker_that_lost_its_job_writes_nothing(clock, write):
    job_id = acts.add_job()
    stale = claim_job("first")
    take_over(clock)
    before = acts.read(job_id), len(acts.list_feed(job_id))

    assert write(stale) is False

    job = acts.read(job_id)
    assert (job.status, job.attempt, job.step) == (JobStatus.RUNNING, 2, before[0].step)
    assert len(acts.list_feed(job_id)) == before[1]
    assert [a.status for a in acts.list_attempts(job_id)] == ["lost", "running"]
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(Metric)) == 0
        assert session.scalar(select(func.count()).select_from(Checkpoint)) == 0


@pytest.mark.parametrize("end", [acts.succeed, acts.hand_back, acts.fail])
def test_a_worker_that_ended_its_attempt_writes_nothing_more(end):
    acts.add_job()
    lease = claim_job()

    assert end(lease)

    writes = (acts.record, acts.renew, acts.succeed, acts.fail, acts.hand_back)
    assert [write(lease) for write in writes] == [False] * len(writes)


def count_rows(job_id: str, attempt_id: int) -> tuple[int, int]:
    with transaction() as session:
        points = select(func.count()).where(Metric.attempt_id == attempt_id)
        events = select(func.count()).where(Event.job_id == job_id, Event.type == "log")
        return session.scalar(points) or 0, session.scalar(events) or 0


def test_no_row_of_an_attempt_appears_after_it_was_taken_over(clock):
    """The writer commits late, so that it would often commit after the takeover."""
    written = refused = 0
    for _ in range(ROUNDS):
        job_id = acts.add_job()
        lease = claim_job("first")
        started = threading.Event()

        def write(lease=lease, started=started) -> tuple[int, bool]:
            step = 0
            while acts.record(lease, step, delay=0.001):
                step += 1
                started.set()
            return step, True

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            assert started.wait(timeout=10)
            acts.expire("first")
            while job_id not in acts.reap():
                time.sleep(0.0005)
            at_takeover = count_rows(job_id, lease.attempt_id)
            steps, stopped = writing.result(timeout=10)
        assert count_rows(job_id, lease.attempt_id) == at_takeover == (steps, steps)
        written, refused = written + steps, refused + stopped
        assert acts.steer(lifecycle.cancel, job_id)
    assert refused == ROUNDS
    assert written > ROUNDS


def test_a_takeover_waits_for_a_batch_that_is_being_written(clock):
    job_id = acts.add_job()
    lease = claim_job("first")
    with transaction() as session:
        assert lifecycle.record(session, lease, [NewEvent("log", {"lines": ["."]})])
        acts.expire("first")
        assert acts.reap() == []  # the row is locked: next time

    assert acts.reap() == [job_id]


# ---------------------------------------------------------------- how attempts end


def test_a_lost_job_is_queued_again_at_once(clock):
    job_id = acts.add_job()
    claim_job()
    clock.skip(A_LEASE)

    assert acts.reap() == [job_id]

    job = acts.read(job_id)
    assert (job.status, job.losses, job.failures) == (JobStatus.QUEUED, 1, 0)
    assert acts.count_leases(job_id) == 0
    assert acts.claim() is not None


def test_a_job_that_keeps_losing_its_worker_fails(clock, configure):
    configure(max_losses=3)
    job_id = acts.add_job()
    for _ in range(3):
        claim_job()
        clock.skip(A_LEASE)
        acts.reap()
        clock.skip(600)  # past any backoff

    job = acts.read(job_id)
    assert (job.status, job.reason, job.losses) == (JobStatus.FAILED, Reason.LOST, 3)
    assert "lost 3 times" in job.error["message"]
    assert acts.claim() is None


def test_a_failing_job_waits_longer_each_time_and_then_fails(clock):
    job_id = acts.add_job(max_attempts=4)
    waits = []
    for _ in range(4):
        assert acts.fail(claim_job())
        with transaction() as session:
            job = acts.read(job_id)
            now = session.scalar(select(clock.now()))
        waits.append((job.not_before - now).total_seconds())
        clock.skip(600)

    assert job.status is JobStatus.FAILED
    error = acts.ERROR | {"log_tail": [], "checkpoint": None}
    assert (job.reason, job.failures, job.error) == (Reason.CRASHED, 4, error)
    for wait, expected in zip(waits, (5, 10, 20), strict=False):
        assert 0.75 * expected < wait < 1.25 * expected


def test_a_failure_that_no_retry_helps_ends_the_job():
    job_id = acts.add_job()

    assert acts.fail(claim_job(), retry=False)

    assert acts.read(job_id).status is JobStatus.FAILED


def test_progress_between_failures_starts_the_count_again(clock):
    job_id = acts.add_job(max_attempts=2)
    for step in range(10, 60, 10):
        lease = claim_job()
        assert acts.save(lease, step)
        assert acts.fail(lease)
        clock.skip(600)
    assert (acts.read(job_id).status, acts.read(job_id).failures) == (JobStatus.QUEUED, 1)

    assert acts.fail(claim_job())

    assert acts.read(job_id).status is JobStatus.FAILED


def test_a_fold_that_was_finished_is_progress(clock):
    job_id = acts.add_job(max_attempts=2)
    for folds in ([1], [1, 2], [1, 2, 3]):
        lease = claim_job()
        assert acts.tell_folds(lease, *folds)
        assert acts.fail(lease)
        clock.skip(600)
    assert (acts.read(job_id).status, acts.read(job_id).failures) == (JobStatus.QUEUED, 1)

    lease = claim_job()
    assert acts.tell_folds(lease, 1, 2, 3)  # nothing new
    assert acts.fail(lease)

    assert acts.read(job_id).status is JobStatus.FAILED


def test_progress_between_losses_starts_the_count_again(clock, configure):
    configure(max_losses=2)
    job_id = acts.add_job()
    for step in (10, 20, 30):
        assert acts.save(claim_job(), step)
        clock.skip(A_LEASE)
        assert acts.reap() == [job_id]

    assert (acts.read(job_id).status, acts.read(job_id).losses) == (JobStatus.QUEUED, 1)


def test_a_checkpoint_that_an_attempt_went_on_from_is_no_progress(clock):
    job_id = acts.add_job(max_attempts=3)
    lease = claim_job()
    assert acts.save(lease, 10)
    assert acts.fail(lease)
    for _ in range(2):
        clock.skip(600)
        assert acts.fail(claim_job())

    assert (acts.read(job_id).status, acts.read(job_id).failures) == (JobStatus.FAILED, 3)


def test_a_job_that_is_handed_back_counts_no_failure():
    job_id = acts.add_job()

    assert acts.hand_back(claim_job())

    job = acts.read(job_id)
    assert (job.status, job.failures, job.losses) == (JobStatus.QUEUED, 0, 0)
    assert [attempt.status for attempt in acts.list_attempts(job_id)] == ["released"]
    assert acts.claim() is not None


# ---------------------------------------------------------------- cancel and pause


@pytest.mark.parametrize(
    ("action", "status"),
    [(lifecycle.cancel, JobStatus.CANCELLED), (lifecycle.pause, JobStatus.PAUSED)],
)
def test_a_running_job_ends_as_its_client_asked_also_when_its_worker_is_lost(clock, action, status):
    handed_back, lost = acts.add_jobs(2)
    lease = claim_job("first")
    assert lease.job_id == handed_back
    claim_job("second")
    for job_id in (handed_back, lost):
        assert acts.steer(action, job_id)
        assert acts.read(job_id).status is JobStatus.RUNNING

    assert acts.hand_back(lease)
    clock.skip(A_LEASE)
    assert acts.reap() == [lost]

    for job_id in (handed_back, lost):
        job = acts.read(job_id)
        assert (job.status, job.requested, job.phase) == (status, None, None)


def test_a_cancel_outdoes_a_pause():
    job_id = acts.add_job()
    lease = claim_job()
    assert acts.steer(lifecycle.pause, job_id)
    assert acts.steer(lifecycle.cancel, job_id)
    assert not acts.steer(lifecycle.pause, job_id)

    assert acts.hand_back(lease)

    assert acts.read(job_id).status is JobStatus.CANCELLED


@pytest.mark.parametrize("end", [acts.succeed, lambda lease: acts.fail(lease, retry=False)])
def test_a_cancel_that_races_the_end_gives_one_terminal_state(end):
    for _ in range(ROUNDS):
        job_id = acts.add_job()
        lease = claim_job()

        cancelled, ended = race(
            lambda job_id=job_id: acts.steer(lifecycle.cancel, job_id),
            lambda lease=lease: end(lease),
        )

        job = acts.read(job_id)
        assert ended  # a cancel only asks, so whoever trains says how it ended
        assert acts.list_ends(job_id) == [job.status]
        if not cancelled:
            assert job.status is not JobStatus.CANCELLED
        assert job.finished_at is not None
        assert acts.count_leases(job_id) == 0


@pytest.mark.parametrize("action", [lifecycle.cancel, lifecycle.pause])
def test_a_request_that_races_a_hand_back_is_never_refused(action):
    """Running, then queued: it can be cancelled and paused at every moment."""
    for _ in range(ROUNDS):
        job_id = acts.add_job()
        lease = claim_job()

        assert race(
            lambda job_id=job_id: acts.steer(action, job_id),
            lambda lease=lease: acts.hand_back(lease),
        ) == [True, True]

        status = acts.read(job_id).status
        assert status is (JobStatus.CANCELLED if action is lifecycle.cancel else JobStatus.PAUSED)


def test_reapers_that_race_a_renewal_agree_with_it(clock):
    """Either the lease was renewed in time, or the job is taken over: never both, never neither."""
    for number in range(ROUNDS):
        job_id = acts.add_job()
        lease = claim_job(f"worker {number}")
        acts.expire(lease.worker)

        renewed, *reaped = race(lambda lease=lease: acts.renew(lease), acts.reap, acts.reap)

        taken = [each for ids in reaped for each in ids]
        assert taken == ([] if acts.record(lease) else [job_id])
        assert renewed or taken
        assert acts.read(job_id).losses == len(taken)
        assert acts.steer(lifecycle.cancel, job_id)


def test_a_lease_that_is_renewed_while_the_reaper_looks_is_kept(clock, monkeypatch):
    job_id = acts.add_job()
    lease = claim_job()
    list_expired = leases.list_expired

    def list_and_let_renew(session: Session) -> list[tuple[str, int]]:
        found = list_expired(session)
        assert found == [(job_id, 1)]
        assert acts.renew(lease)
        return found

    monkeypatch.setattr(leases, "list_expired", list_and_let_renew)
    clock.skip(A_LEASE)

    assert acts.reap() == []
    assert acts.record(lease)


# ---------------------------------------------------------------- the feed


def test_the_feed_has_no_gap_whoever_writes_at_once(clock):
    job_id = acts.add_job()
    lease = claim_job()

    def write_batches() -> None:
        for step in range(20):
            with transaction() as session:
                events = [NewEvent("log", {"lines": [str(n)]}) for n in range(step % 4)]
                assert lifecycle.record(session, lease, events, step=step)

    def ask() -> None:
        for _ in range(20):
            acts.steer(lifecycle.cancel, job_id)

    race(write_batches, write_batches, ask, ask)

    feed = acts.list_feed(job_id)
    assert [event.seq for event in feed] == list(range(1, len(feed) + 1))
    assert acts.read(job_id).event_seq == len(feed) == 2 + 2 * 30 + 40
    assert acts.read(job_id).requested is Requested.CANCEL


def test_a_batch_whose_answer_was_lost_is_known_again():
    acts.add_job()
    lease = claim_job()
    with transaction() as session:
        assert not lifecycle.is_recorded(session, lease, 1)
        assert lifecycle.record(session, lease, batch=1)

    with transaction() as session:
        assert lifecycle.is_recorded(session, lease, 1)
        assert not lifecycle.is_recorded(session, lease, 2)
