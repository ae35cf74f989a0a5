"""One job under a supervisor, on a real slot and Postgres, through all that may happen to it."""

import errno
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from app import storage
from app.checkpoints.tables import Checkpoint
from app.config import get_settings
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.tables import Attempt, Job, JobStatus, Phase, Reason
from tests.app.jobs import acts
from tests.factories import make_account, make_dataset
from tests.worker.conftest import make_rows, make_spec, write_table
from worker import supervisor
from worker.slot import Slot
from worker.supervisor import Supervisor, claim_job

ENDLESS = 1_000_000


@dataclass
class Run:
    """A job that is being trained."""

    job_id: str
    supervisor: Supervisor
    ended: Future[None]

    @property
    def job(self) -> Job:
        return acts.read(self.job_id)

    def wait_until(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.job.error
            time.sleep(0.02)

    def wait_for_a_checkpoint(self) -> None:
        self.wait_until(lambda: list_checkpoints(self.job_id))

    def wait(self) -> Job:
        self.ended.result(timeout=60)
        return self.job

    def find_trainer(self, slot: Slot) -> psutil.Process:
        assert slot._shim is not None
        [warm] = psutil.Process(slot._shim.pid).children()
        [trainer] = warm.children()
        return trainer


def list_checkpoints(job_id: str) -> list[Checkpoint]:
    with transaction() as session:
        query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step)
        return list(session.scalars(query))


@pytest.fixture(scope="module")
def slot(stack) -> Iterator[Slot]:
    slot = Slot(30, stack / "cache")
    slot.start()
    yield slot
    slot.stop()


@pytest.fixture
def settle(monkeypatch) -> Iterator[None]:
    """Short times, for one test."""
    for name, value in {"renew": "0.2", "stop_grace": "1", "backoff": "0"}.items():
        monkeypatch.setenv(f"TRAINSMITH_{name.upper()}_SECONDS", value)
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def draining() -> list[bool]:
    return []


@pytest.fixture
def start(slot, database, settle, draining) -> Iterator[Callable[..., Run]]:
    with ThreadPoolExecutor(1) as pool:

        def start(job_id: str | None = None, **parts: Any) -> Run:
            job_id = job_id or submit(**parts)
            assignment = claim_job("worker")
            assert assignment is not None
            assert assignment.lease.job_id == job_id
            watched = Supervisor(assignment, slot, lambda: bool(draining))
            return Run(job_id, watched, pool.submit(watched.run))

        yield start
        draining.append(True)


def submit(epochs: int = ENDLESS, **parts: Any) -> str:
    project_id = make_account().project_id
    dataset_id = make_dataset(project_id)
    folder = storage.get_path(storage.dataset_key(dataset_id))
    folder.mkdir(parents=True)
    table = write_table(folder / "table.parquet", make_rows())
    parts = {"checkpoints": {"every_seconds": 0.2}, "training": {"epochs": epochs}} | parts
    spec = make_spec(dataset={"id": dataset_id}, **parts)
    with transaction() as session:
        session.get_one(supervisor.Dataset, dataset_id).columns = [
            column.model_dump(mode="json") for column in table.columns
        ]
        job = Job(
            project_id=project_id,
            dataset_id=dataset_id,
            name="test",
            model_type="logistic",
            spec=json.loads(spec.model_dump_json()),
        )
        return lifecycle.add(session, job).id


def read_attempt(job_id: str, number: int = 1) -> Attempt:
    return acts.list_attempts(job_id)[number - 1]


def test_a_job_goes_from_its_claim_to_its_evaluation(start):
    job = start(epochs=3).wait()

    assert (job.status, job.error, job.attempt) == (JobStatus.SUCCEEDED, None, 1)
    assert job.evaluation is not None
    assert job.step == job.total_steps
    feed = acts.list_feed(job.id)
    phases = [e.data["phase"] for e in feed if e.type == "state" and e.data["phase"]]
    assert phases == [Phase.PREPARING, Phase.TRAINING, Phase.EVALUATING, Phase.EXPORTING]
    assert list_checkpoints(job.id)[-1].step == job.total_steps


def test_a_killed_trainer_is_a_failure_that_names_the_signal(start, slot):
    run = start()
    run.wait_for_a_checkpoint()

    run.find_trainer(slot).send_signal(signal.SIGSEGV)

    job = run.wait()
    assert (job.status, job.failures, job.losses) == (JobStatus.QUEUED, 1, 0)
    attempt = read_attempt(job.id)
    assert (attempt.status, attempt.exit["reason"]) == ("failed", Reason.CRASHED)
    assert "SIGSEGV" in attempt.exit["message"]


def test_after_its_warm_server_died_a_slot_runs_the_next_attempt(start, slot):
    run = start()
    run.wait_for_a_checkpoint()

    run.find_trainer(slot).parent().kill()

    assert run.wait().status is JobStatus.QUEUED
    again = start(run.job_id)
    again.wait_until(lambda: find_resumed_steps(run.job_id))
    assert acts.steer(lifecycle.cancel, run.job_id)
    assert again.wait().status is JobStatus.CANCELLED
    assert find_resumed_steps(run.job_id) == [read_attempt(run.job_id, 2).resume_step]


def find_resumed_steps(job_id: str) -> list[int]:
    return [event.data["step"] for event in acts.list_feed(job_id) if event.type == "resumed"]


def test_a_worker_that_is_told_to_stop_saves_and_hands_its_job_back(start, draining):
    run = start()
    run.wait_for_a_checkpoint()

    draining.append(True)

    job = run.wait()
    assert (job.status, job.failures, job.losses) == (JobStatus.QUEUED, 0, 0)
    assert read_attempt(job.id).status == "released"
    assert list_checkpoints(job.id)[-1].step == job.step


@pytest.mark.parametrize(
    ("ask", "status"),
    [(lifecycle.cancel, JobStatus.CANCELLED), (lifecycle.pause, JobStatus.PAUSED)],
)
def test_a_job_that_is_stopped_saves_first(start, ask, status):
    run = start()
    run.wait_until(lambda: run.job.step > 0)

    assert acts.steer(ask, run.job_id)

    job = run.wait()
    assert (job.status, job.requested, job.phase) == (status, None, None)
    assert list_checkpoints(job.id)[-1].step == job.step > 0


def test_a_trainer_that_does_not_stop_is_killed_after_its_grace(start, slot):
    run = start()
    run.wait_for_a_checkpoint()
    trainer = run.find_trainer(slot)
    trainer.suspend()

    assert acts.steer(lifecycle.cancel, run.job_id)

    assert run.wait().status is JobStatus.CANCELLED
    assert not psutil.pid_exists(trainer.pid)


def test_a_time_limit_saves_and_has_a_reason_of_its_own(start):
    job = start(limits={"max_seconds": 1.5}).wait()

    assert (job.status, job.reason) == (JobStatus.FAILED, Reason.TIMEOUT)
    assert "1.5 s" in job.error["message"]
    assert list_checkpoints(job.id)[-1].step == job.step


def test_a_supervisor_whose_job_was_taken_over_kills_its_trainer_and_says_nothing(start, slot):
    run = start()
    run.wait_for_a_checkpoint()
    trainer = run.find_trainer(slot)
    with transaction() as session:
        assert lifecycle.fail(session, run.supervisor.lease, Reason.LOST, acts.ERROR)
    taken = acts.claim("another")
    assert taken is not None
    before = len(acts.list_feed(run.job_id))

    job = run.wait()

    assert not psutil.pid_exists(trainer.pid)
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 2)
    assert len(acts.list_feed(run.job_id)) == before
    assert acts.record(taken)


def test_a_full_disk_at_the_start_is_a_failure_with_its_reason(start, monkeypatch):
    write_request = supervisor.write_request

    def run_out(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(supervisor, "write_request", run_out)
    run = start(epochs=3)
    job = run.wait()
    assert (job.status, job.failures) == (JobStatus.QUEUED, 1)
    assert "No space left" in read_attempt(job.id).exit["message"]

    monkeypatch.setattr(supervisor, "write_request", write_request)
    assert start(job.id).wait().status is JobStatus.SUCCEEDED


def test_what_a_trainer_left_half_written_is_removed_by_the_next_attempt(start):
    job_id = submit(epochs=3)
    leftover = storage.get_path(storage.attempt_key(job_id, 7)) / ".s9.abcd.tmp"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")

    assert start(job_id).wait().status is JobStatus.SUCCEEDED

    assert not leftover.exists()
