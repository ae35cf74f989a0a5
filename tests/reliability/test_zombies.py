"""A worker that is stopped for longer than its lease and then goes on: a zombie."""

import time

import psutil

from tests.chaos.invariants import Truth
from tests.e2e.conftest import wait_until
from tests.reliability.conftest import LEASE_SECONDS, Site


def find_supervisor(trainer: psutil.Process) -> psutil.Process:
    """Above the trainer are the warm server, the shim and the Celery process of the slot."""
    warm = trainer.parent()
    assert warm is not None
    supervisor = warm.parent().parent()
    assert "worker.celery" in " ".join(supervisor.cmdline())
    return supervisor


def count_rows(site: Site, job_id: str, attempt: int) -> list[tuple[int, ...]]:
    truth = Truth(site.stack)
    try:
        return truth.query(
            "SELECT (SELECT count(*) FROM metrics WHERE attempt_id = a.id),"
            " (SELECT count(*) FROM checkpoints WHERE attempt_id = a.id),"
            " (SELECT count(*) FROM events WHERE job_id = a.job_id AND attempt = a.number)"
            " FROM attempts a WHERE job_id = %s AND number = %s",
            job_id,
            attempt,
        )
    finally:
        truth.close()


def test_a_worker_stopped_past_its_lease_loses_its_job_and_can_harm_nothing(site):
    job_id = site.submit(epochs=200)
    site.wait_for_a_checkpoint(job_id)
    trainer = site.stack.find_trainer()
    supervisor = find_supervisor(trainer)

    supervisor.suspend()
    try:
        frozen_at = time.monotonic()
        wait_until(lambda: not trainer.is_running(), "its trainer is gone")
        assert time.monotonic() - frozen_at < LEASE_SECONDS + 1.5
        jobs = site.stack.client.jobs
        wait_until(lambda: jobs.get(job_id)["attempt"] == 2, "another worker has the job")
        before = count_rows(site, job_id, attempt=1)
    finally:
        supervisor.resume()

    job = site.assert_it_ended_well(job_id, epochs=200)
    assert (job["attempt"], job["losses"]) == (2, 1)
    assert count_rows(site, job_id, attempt=1)[0][2] == before[0][2]
    assert supervisor.is_running()
    after = [site.submit(epochs=5) for _ in range(4)]
    for job_id in after:  # both slots work
        site.assert_it_ended_well(job_id, epochs=5)
