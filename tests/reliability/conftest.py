"""A stack with short leases and two slots, and jobs on it that train for some seconds."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.chaos.invariants import Truth, find_violations
from tests.e2e import jobs
from tests.e2e.conftest import Stack, start_stack, stop_stack, wait_until

LEASE_SECONDS = 3.0
SETTINGS = {
    "lease_seconds": str(LEASE_SECONDS),
    "renew_seconds": "0.5",
    "reconcile_seconds": "0.3",
    "backoff_seconds": "0.1",
    "stop_grace_seconds": "20",
    "threads": "1",
}


@dataclass
class Site:
    """A running stack, a dataset on it and what an undisturbed job makes of that."""

    stack: Stack
    dataset_id: str
    blobs: Path
    _calm: dict[str, bytes] = field(default_factory=dict)

    def submit(self, epochs: int = 100, **parts: Any) -> str:
        spec = {"training": {"epochs": epochs}, "checkpoints": {"every_seconds": 0.3}} | parts
        return self.stack.client.jobs.create(jobs.make_spec(self.dataset_id, "digit", **spec))["id"]

    def wait_for_a_checkpoint(self, job_id: str) -> None:
        checkpoints = self.stack.client.checkpoints
        wait_until(lambda: any(checkpoints.list(job_id)), "the job has a checkpoint")

    def read_weights(self, job_id: str) -> bytes:
        newest = next(iter(self.stack.client.checkpoints.list(job_id)))
        path = self.stack.home / "weights"
        self.stack.client.checkpoints.download(newest["id"], path, format="safetensors")
        return path.read_bytes()

    def make_calm_weights(self, epochs: int = 100) -> bytes:
        key = str(epochs)
        if key not in self._calm:
            job_id = self.submit(epochs)
            assert self.stack.client.jobs.wait(job_id, timeout=120)["status"] == "succeeded"
            self._calm[key] = self.read_weights(job_id)
        return self._calm[key]

    def assert_it_ended_well(self, job_id: str, epochs: int = 100) -> Any:
        job = self.stack.client.jobs.wait(job_id, timeout=120)
        truth = Truth(self.stack)
        truth.blobs = self.blobs
        try:
            assert find_violations(self.stack, truth, job_id) == []
        finally:
            truth.close()
        assert self.read_weights(job_id) == self.make_calm_weights(epochs)
        return job

    def check_ready(self) -> tuple[int, dict[str, str]]:
        answer = httpx2.get(f"{self.stack.client.url}/readyz", timeout=20)
        return answer.status_code, answer.json()["checks"]

    def is_alive(self) -> bool:
        return httpx2.get(f"{self.stack.client.url}/livez", timeout=5).is_success

    def find_redis(self) -> psutil.Process:
        return wait_until(lambda: self.stack.find("redis-server"), "Redis runs")[0]

    def find_postgres(self) -> psutil.Process | None:
        children = psutil.Process(self.stack.process.pid).children()
        return next((child for child in children if child.name() == "postgres"), None)


@contextmanager
def open_site(blobs: str | Path = "blobs", **settings: str) -> Iterator[Site]:
    """`blobs` is where the stack keeps its files, relative to its data folder."""
    home = Path(tempfile.mkdtemp(prefix="ts-rel-"))
    home.chmod(0o711)  # as `up` makes one itself: for root, PostgreSQL runs as another account
    stack = start_stack(home, **SETTINGS | settings)
    try:
        header, rows = jobs.read_digits()
        path = jobs.write_csv(home / "digits.csv", header, rows[:600])
        yield Site(stack, stack.client.datasets.upload(path)["id"], home / blobs)
        stop_stack(stack)
    finally:
        if stack.process.poll() is None:
            stack.process.kill()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with open_site(slots="2") as site:
        site.make_calm_weights()
        yield site
