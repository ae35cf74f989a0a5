"""The invariants of the design, read from the database, the disk and the API after a fault."""

import hashlib
from pathlib import Path
from typing import Any

import psycopg
from safetensors import safe_open

from tests.e2e.conftest import Stack

Row = tuple[Any, ...]


class Truth:
    """Reads the stack's own Postgres, beside the API."""

    def __init__(self, stack: Stack) -> None:
        worker = stack.find_worker()
        url = worker.environ()["TRAINSMITH_DATABASE_URL"]
        self._connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        self.blobs = stack.home / "blobs"

    def query(self, sql: str, *parameters: Any) -> list[Row]:
        return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        self._connection.close()


def find_violations(stack: Stack, truth: Truth, job_id: str) -> list[str]:
    """Every broken promise about an ended job, in words. Empty: all is well."""
    job = stack.client.jobs.get(job_id)
    found = [] if job["status"] == "succeeded" else [f"it ended {job['status']}: {job['error']}"]
    found += check_attempts(truth, job_id)
    found += check_feed(truth, job_id)
    found += check_metrics(stack, job)
    found += check_checkpoints(truth, job_id)
    return found


def check_attempts(truth: Truth, job_id: str) -> list[str]:
    rows = truth.query("SELECT number, status FROM attempts WHERE job_id = %s ORDER BY 1", job_id)
    found = []
    if [number for number, _ in rows] != list(range(1, len(rows) + 1)):
        found.append(f"attempts are numbered {[number for number, _ in rows]}")
    statuses = [status for _, status in rows]
    if statuses.count("running"):
        found.append("an attempt still runs")
    if statuses.count("succeeded") != 1:
        found.append(f"{statuses.count('succeeded')} attempts succeeded")
    if truth.query("SELECT 1 FROM leases WHERE job_id = %s", job_id):
        found.append("a lease is left")
    return found


def check_feed(truth: Truth, job_id: str) -> list[str]:
    rows = truth.query("SELECT seq FROM events WHERE job_id = %s ORDER BY 1", job_id)
    sequence = [seq for (seq,) in rows]
    return [] if sequence == list(range(1, len(rows) + 1)) else [f"the feed reads {sequence}"]


def check_metrics(stack: Stack, job: Any) -> list[str]:
    series = {s["name"]: s["points"] for s in stack.client.jobs.metrics(job["id"], points=10_000)}
    total, every = job["progress"]["total_steps"], job["spec"]["training"]["log_every"]
    steps = [step for step, _ in series.get("train/loss", [])]
    expected = sorted({*range(every, total + 1, every), total})
    found = [] if steps == expected else [f"train/loss has the steps {steps}"]
    epochs = job["spec"]["training"]["epochs"]
    if len(series.get("validation/loss", [])) != epochs:
        found.append(f"validation/loss has {len(series.get('validation/loss', []))} points")
    return found


def check_checkpoints(truth: Truth, job_id: str) -> list[str]:
    rows = truth.query("SELECT path, files FROM checkpoints WHERE job_id = %s", job_id)
    found = [] if rows else ["no checkpoint is listed"]
    for path, files in rows:
        for name, facts in files.items():
            found += check_file(truth.blobs / path / name, facts)
    for leftover in (truth.blobs / "jobs" / job_id).rglob(".*.tmp"):
        found.append(f"{leftover.name} is left behind")
    return found


def check_file(path: Path, facts: dict[str, Any]) -> list[str]:
    if not path.exists():
        return [f"{path} is listed but absent"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != facts["sha256"]:
        return [f"{path} fails its digest"]
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no dict
            file.get_tensor(name)
    return []
