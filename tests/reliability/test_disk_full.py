"""A disk that is full: nothing is half there, nothing has to be restarted."""

import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.invariants import Truth, check_checkpoints
from tests.e2e.conftest import wait_until
from tests.reliability.conftest import Site, open_site

DISK_MIB = 300  # an upload wants 256 of them to be free


@pytest.fixture(scope="module")
def disk():
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = Path(tempfile.mkdtemp(prefix="ts-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.fixture(scope="module")
def site(disk):
    with open_site(disk, storage_url=disk.as_uri()) as site:
        site.make_calm_weights(epochs=200)
        yield site


def fill(disk: Path) -> Path:
    path = disk / "filler"
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


def list_warnings(site: Site, job_id: str) -> str:
    sql = "SELECT data ->> 'message' FROM events WHERE job_id = %s AND type = 'warning'"
    truth = Truth(site.stack)
    try:
        return "\n".join(message for (message,) in truth.query(sql, job_id))
    finally:
        truth.close()


def check_files(site: Site, job_id: str) -> list[str]:
    truth = Truth(site.stack)
    truth.blobs = site.blobs
    try:
        return check_checkpoints(truth, job_id)
    finally:
        truth.close()


def test_training_goes_on_while_no_checkpoint_can_be_written(site, disk):
    job_id = site.submit(epochs=200)
    site.wait_for_a_checkpoint(job_id)

    filler = fill(disk)
    try:
        status, checks = site.check_ready()
        assert (status, checks["disk"]) == (503, "DiskFull")
        wait_until(lambda: "could not be written" in list_warnings(site, job_id), "it warns")
    finally:
        filler.unlink()

    job = site.assert_it_ended_well(job_id, epochs=200)
    assert job["attempt"] == 1
    assert "No space left" in list_warnings(site, job_id)


def test_a_job_that_cannot_save_its_end_fails_with_the_reason_and_the_next_one_works(site, disk):
    job_id = site.submit(epochs=300, limits={"max_attempts": 2})
    site.wait_for_a_checkpoint(job_id)

    def has_failed() -> bool:
        fill(disk)  # again and again: whatever fails gives room back
        return site.stack.client.jobs.get(job_id)["status"] in ("succeeded", "failed")

    try:
        wait_until(has_failed, "the job has failed")
    finally:
        (disk / "filler").unlink()

    job = site.stack.client.jobs.get(job_id)
    assert (job["status"], job["failures"]) == ("failed", 2)
    assert "No space left" in job["error"]["message"]
    assert check_files(site, job_id) == []
    assert site.assert_it_ended_well(site.submit(epochs=200), epochs=200)["attempt"] == 1
