"""Trains well-known data sets through the public API and compares with the figures they must reach.

    python bench/figures.py --url http://127.0.0.1:8700 --key ts_... --data FOLDER

FOLDER holds `sklearn_tabular/<name>_{train,test}.csv`, `abalone/{train,test}.csv` and
`banknote/{train,test}.csv`. Prints a Markdown table; exits with 1 if a figure is missed.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

POLL_SECONDS = 0.3
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Figure:
    """One job. `epochs`, `batch_size` and `lr` of Adam with a cosine to zero, and what else."""

    name: str
    files: str  # with {} for train or test
    target: str
    model: dict[str, Any]
    metric: str
    needed: float
    epochs: int
    batch_size: int
    lr: float
    more: dict[str, Any] = field(default_factory=dict)

    def make_spec(self, train: str, test: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": self.model,
            "dataset": {"id": train, "target": self.target, "test_id": test},
            "training": {
                "epochs": self.epochs,
                "batch_size": self.batch_size,
                "optimizer": {"type": "adam", "lr": self.lr},
                "schedule": {"type": "cosine"},
                **self.more,
            },
            "evaluation": {"metrics": [self.metric]},
            "labels": {"bench": "figures"},
        }


LINEAR, LOGISTIC = {"type": "linear"}, {"type": "logistic"}
MLP = {"type": "mlp", "hidden": [64, 32], "task": "regression"}
SKLEARN, ABALONE = "sklearn_tabular/{name}_{{}}.csv", "abalone/{}.csv"
ADAMW = {"optimizer": {"type": "adamw", "lr": 0.003}, "schedule": {"type": "one_cycle"}}


def from_sklearn(name: str, model: dict[str, Any], *rest: Any, **more: Any) -> Figure:
    return Figure(name, SKLEARN.format(name=name), "target", model, *rest, more=more)


FIGURES = [
    from_sklearn("diabetes", LINEAR, "r2", 0.50, 200, 32, 0.01),
    from_sklearn("iris", LOGISTIC, "accuracy", 0.95, 200, 16, 0.05),
    from_sklearn("wine", LOGISTIC, "accuracy", 0.97, 100, 16, 0.02),
    from_sklearn("breast_cancer", LOGISTIC, "accuracy", 0.97, 100, 32, 0.01, l2=0.001),
    from_sklearn("digits", LOGISTIC, "accuracy", 0.96, 60, 32, 0.01, l2=0.0003),
    Figure("banknote", "banknote/{}.csv", "class", LOGISTIC, "accuracy", 0.98, 100, 32, 0.05),
    Figure("abalone linear", ABALONE, "rings", LINEAR, "r2", 0.0, 60, 64, 0.01),
    Figure("abalone mlp", ABALONE, "rings", MLP, "r2", 0.54, 60, 64, 0.003, ADAMW),
]


def upload(api: httpx2.Client, path: Path) -> str:
    with path.open("rb") as file:
        files = {"file": (path.name, file, "text/csv")}
        answer = api.post("/v1/datasets", files=files, data={"name": path.stem})
    return str(read(answer)["id"])


def read(answer: httpx2.Response) -> dict[str, Any]:
    if answer.is_error:
        sys.exit(f"{answer.request.method} {answer.request.url}: {answer.text}")
    body: dict[str, Any] = answer.json()
    return body


def wait(api: httpx2.Client, job_id: str) -> dict[str, Any]:
    while (job := read(api.get(f"/v1/jobs/{job_id}")))["status"] not in ENDED:
        time.sleep(POLL_SECONDS)
    if job["status"] != "succeeded":
        sys.exit(f"{job['name']} {job['status']}: {job['error']}")
    return job


def measure(api: httpx2.Client, data: Path) -> dict[str, dict[str, Any]]:
    """The evaluation of every job. All are queued at once."""
    jobs = {}
    for figure in FIGURES:
        train, test = (upload(api, data / figure.files.format(part)) for part in ("train", "test"))
        jobs[figure.name] = read(api.post("/v1/jobs", json=figure.make_spec(train, test)))["id"]
    for job_id in jobs.values():
        wait(api, job_id)
    return {name: read(api.get(f"/v1/jobs/{job_id}/evaluation")) for name, job_id in jobs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8700")
    parser.add_argument("--key", default=os.environ.get("TRAINSMITH_API_KEY", ""))
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    headers = {"Authorization": f"Bearer {arguments.key}"}
    with httpx2.Client(base_url=arguments.url, headers=headers, timeout=60) as api:
        evaluations = measure(api, arguments.data)

    scores = {each.name: evaluations[each.name]["test"][each.metric] for each in FIGURES}
    needs = {each.name: each.needed for each in FIGURES}
    needs["abalone mlp"] = max(needs["abalone mlp"], scores["abalone linear"])
    print("| data and model | metric | test | needed | baseline |\n|---|---|---|---|---|")
    for each in FIGURES:
        baseline = evaluations[each.name]["baseline"].get(each.metric, float("nan"))
        print(
            f"| {each.name} ({each.model['type']}) | {each.metric} | {scores[each.name]:.3f} "
            f"| {needs[each.name]:.3f} | {baseline:.3f} |"
        )
    sys.exit(any(scores[name] < needed for name, needed in needs.items()))


if __name__ == "__main__":
    main()
