"""How long a submitted job waits for its first optimizer step, on an idle warm worker.

    python -m bench.first_step [--url URL] [--key KEY] [--jobs 20]

Both moments, `created_at` and `first_step_at`, are from the server's database clock, and the first
step is stamped when it is recorded, so that the figure also holds the way back from the worker.
"""

import argparse
import csv
import statistics
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from client import Trainsmith
from client.answers import Job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="default: the server that runs here")
    parser.add_argument("--key", help="default: TRAINSMITH_API_KEY, else the data folder's")
    parser.add_argument("--jobs", type=int, default=20)
    options = parser.parse_args()
    with Trainsmith(options.url, options.key) as client:
        spec = make_spec(upload_table(client))
        run_job(client, spec)  # warms what only the first job on a worker needs
        delays = [read_delay(run_job(client, spec)) for _ in range(options.jobs)]
    print(f"submit -> first step over {len(delays)} jobs on {client.url}, in milliseconds")
    for name, value in summarize(delays).items():
        print(f"  {name:<7} {value * 1000:8.1f}")


def upload_table(client: Trainsmith) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "first-step.csv")
        with path.open("w", newline="") as file:
            rows = [[i % 7, i % 5, 2.0 * (i % 7) - (i % 5)] for i in range(200)]
            csv.writer(file).writerows([["a", "b", "y"], *rows])
        return client.datasets.upload(path)["id"]


def make_spec(dataset_id: str) -> dict[str, Any]:
    return {
        "name": "first-step",
        "model": {"type": "linear"},
        "dataset": {"id": dataset_id, "target": "y"},
        "training": {"epochs": 1},
    }


def run_job(client: Trainsmith, spec: dict[str, Any]) -> Job:
    job = client.jobs.wait(client.jobs.create(spec)["id"], timeout=120)
    if job["status"] != "succeeded":
        raise SystemExit(f"{job['id']} {job['status']}: {job['error']}")
    return job


def read_delay(job: Job) -> float:
    first_step_at = job["first_step_at"]
    assert first_step_at is not None  # it has succeeded
    created_at = datetime.fromisoformat(job["created_at"])
    return (datetime.fromisoformat(first_step_at) - created_at).total_seconds()


def summarize(delays: list[float]) -> dict[str, float]:
    return {"min": min(delays), "median": statistics.median(delays), "max": max(delays)}


if __name__ == "__main__":
    main()
