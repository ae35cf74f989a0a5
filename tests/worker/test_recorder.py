"""What a trainer reports reaches Postgres once and in order, through outages of Postgres."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.config import get_settings
from app.db import get_engine, transaction
from app.embedded import EmbeddedPostgres
from app.events.tables import Event
from app.jobs.leases import Lease
from app.jobs.tables import JobStatus
from app.metrics.tables import Metric
from app.migrate import upgrade
from app.specs.training import CheckpointsSpec
from tests.app.jobs import acts
from tests.factories import claim_job
from worker import recorder
from worker.recorder import OutageTooLong, Recorder, insist


def forget_engine() -> None:
    get_engine().dispose()
    get_engine.cache_clear()
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def server(stack) -> Iterator[EmbeddedPostgres]:
    """A Postgres that tests may stop: nobody else uses it."""
    home = Path(tempfile.mkdtemp(prefix="ts-"))
    home.chmod(0o711)
    server, before = EmbeddedPostgres(home), os.environ["TRAINSMITH_DATABASE_URL"]
    try:
        os.environ["TRAINSMITH_DATABASE_URL"] = server.start()
        forget_engine()
        upgrade()
        yield server
    finally:
        forget_engine()
        os.environ["TRAINSMITH_DATABASE_URL"] = before
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def lease(server) -> Lease:
    acts.add_job()
    return claim_job()


@pytest.fixture
def running(lease) -> Iterator[Recorder]:
    thread = Recorder(lease, CheckpointsSpec())
    thread.start()
    yield thread
    thread.close()


@pytest.fixture
def short_patience(monkeypatch):
    monkeypatch.setenv("TRAINSMITH_OUTAGE_SECONDS", "0.5")
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


def report(thread: Recorder, steps: range, pause: float = 0.0) -> None:
    for step in steps:
        thread.put({"kind": "metrics", "points": [["train/loss", step, step / 7]]})
        thread.put(
            {"kind": "progress", "step": step, "total_steps": 99, "epoch": 0.1, "eta_seconds": 1.0}
        )
        time.sleep(pause)


def assert_all_is_there_once(lease: Lease, steps: range) -> None:
    with transaction() as session:
        metrics = session.scalars(select(Metric).where(Metric.attempt_id == lease.attempt_id))
        points = sorted((row.name, row.step, row.value) for row in metrics)
        query = select(Event).where(Event.job_id == lease.job_id).order_by(Event.seq)
        events = session.scalars(query).all()
    expected = [("train/loss", step, step / 7) for step in steps]
    assert points == expected
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    told = [tuple(p) for e in events if e.type == "metric" for p in e.data["points"]]
    assert told == expected
    assert acts.read(lease.job_id).step == steps[-1]


def test_everything_is_written_once_and_in_order(running, lease):
    report(running, range(200))
    running.close()

    assert not running.lost
    assert_all_is_there_once(lease, range(200))


def test_an_outage_of_postgres_loses_and_doubles_nothing(running, lease, server):
    report(running, range(30), pause=0.02)
    server.stop()
    report(running, range(30, 60), pause=0.02)
    server.start()
    report(running, range(60, 90), pause=0.02)
    running.close()

    assert not running.lost
    assert_all_is_there_once(lease, range(90))
    assert acts.renew(lease)


def test_a_commit_whose_answer_is_lost_is_not_repeated(running, lease, monkeypatch):
    real, lost = recorder.transaction, []

    @contextmanager
    def lose_answers():
        with real() as session:
            yield session
        if session.info.pop("wrote", False) and len(lost) < 5:
            lost.append(1)
            raise OperationalError("COMMIT", None, Exception("the connection is gone"))

    def mark(session, *arguments) -> None:
        session.info["wrote"] = True
        add_points(session, *arguments)

    add_points = recorder.add_points
    monkeypatch.setattr(recorder, "add_points", mark)
    monkeypatch.setattr(recorder, "transaction", lose_answers)
    report(running, range(40), pause=0.05)
    running.close()

    assert len(lost) == 5
    assert_all_is_there_once(lease, range(40))


def test_a_connection_that_dies_in_the_middle_of_a_batch_loses_nothing(
    running, lease, server, monkeypatch
):
    add_points, killed = recorder.add_points, []

    def kill_connection_first(session, *arguments) -> None:
        if len(killed) < 3:
            pid = session.connection().connection.driver_connection.info.backend_pid
            with psycopg.connect(server.url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            killed.append(pid)
        add_points(session, *arguments)

    monkeypatch.setattr(recorder, "add_points", kill_connection_first)
    report(running, range(20), pause=0.05)
    running.close()

    assert len(killed) == 3
    assert not running.lost
    assert_all_is_there_once(lease, range(20))


def test_a_recorder_whose_job_was_taken_over_says_so_and_writes_nothing(running, lease):
    acts.fail(lease)
    before = len(acts.list_feed(lease.job_id))

    report(running, range(3))
    running.join(timeout=10)

    assert running.lost
    assert len(acts.list_feed(lease.job_id)) == before
    assert acts.read(lease.job_id).status is JobStatus.QUEUED


def test_after_too_long_an_outage_the_job_is_given_up(lease, server, short_patience):
    thread = Recorder(lease, CheckpointsSpec())
    thread.start()
    server.stop()
    try:
        started = time.monotonic()
        with pytest.raises(OutageTooLong):
            insist(lambda session: session.connection())
        assert time.monotonic() - started < 10
        report(thread, range(3))
        thread.join(timeout=20)
        assert thread.lost
    finally:
        server.start()


def test_what_is_wrong_with_the_statement_is_no_outage(server):
    with pytest.raises(ZeroDivisionError):
        insist(lambda session: 1 / 0)
