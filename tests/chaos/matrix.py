"""The crash matrix: every fault point, every way to fail, on the real stack.

    python -m tests.chaos.matrix [--seeds 3] [--points NAME ...] [--write docs/reliability.md]

Each case arms one point, submits a job, and lets the process that reaches the point first suffer.
Then the job has to succeed, keep every invariant and end with the weights of an undisturbed run.
"""

import argparse
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from client import ApiError, ConnectionFailed
from tests.chaos.invariants import Truth, find_violations
from tests.e2e import jobs
from tests.e2e.conftest import Stack, start_stack, stop_stack, wait_until

LEASE_SECONDS = 3.0
POINTS = (
    "api.before_commit",
    "api.after_commit",
    "dispatch.before_send",
    "reap.before_commit",
    "claim.before_commit",
    "supervisor.after_claim",
    "supervisor.before_launch",
    "supervisor.after_launch",
    "supervisor.before_conclude",
    "finish.before_commit",
    "recorder.before_commit",
    "recorder.after_commit",
    "child.start",
    "child.before_done",
    "train.step",
    "bundle.before_rename",
    "explanations.before_rename",
    "explanations.after_rename",
    "fold.before_rename",
    "fold.after_rename",
    "checkpoint.before_write",
    "checkpoint.before_sync",
    "checkpoint.before_rename",
    "checkpoint.after_rename",
    "checkpoint.before_report",
)
# What has to happen first, so that a point is reached at all.
TRIGGERS = {
    "dispatch.before_send": ("child.start", "kill"),  # the wake-up of a retry is the reconciler's
    "reap.before_commit": ("supervisor.after_claim", "kill"),
}
MODES = ("kill", "term", "raise", "freeze")
FAULTY_SETTINGS = {
    "lease_seconds": str(LEASE_SECONDS),
    "renew_seconds": "0.5",
    "reconcile_seconds": "0.3",
    "backoff_seconds": "0.1",
    "stop_grace_seconds": "20",
    "threads": "1",
}


@dataclass
class Case:
    point: str
    mode: str
    seed: int
    violations: list[str] = field(default_factory=list)
    fired: bool = False
    recovery_seconds: float | None = None

    @property
    def folds(self) -> int:
        """Of the cross-validation; 0: none. Other cases do without, as it takes time."""
        return 2 if self.point.startswith("fold.") else 0


@dataclass(frozen=True)
class Result:
    weights: bytes
    explanations: dict[str, bytes]
    cross_validation: dict[str, Any] | None


class Matrix:
    """One stack, many cases, one after another."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="ts-chaos-"))
        self.home.chmod(0o711)  # for root, PostgreSQL runs as another account
        self.faults = self.home / "faults"
        self.faults.mkdir()
        self.stack: Stack = start_stack(self.home, faults=str(self.faults), **FAULTY_SETTINGS)
        self.dataset_id = self._upload()
        self._calm: dict[tuple[int, int], Result] = {}

    def close(self) -> None:
        try:
            stop_stack(self.stack)
        finally:
            shutil.rmtree(self.home, ignore_errors=True)

    def _upload(self) -> str:
        header, rows = jobs.read_digits()
        path = jobs.write_csv(self.home / "digits.csv", header, rows[:600])
        return self.stack.client.datasets.upload(path)["id"]

    def make_spec(self, seed: int, folds: int) -> dict[str, Any]:
        explanations = [{"type": "integrated_gradients", "rows": 2}]
        return jobs.make_spec(
            self.dataset_id,
            "digit",
            training={"epochs": 30, "seed": seed},
            checkpoints={"every_seconds": 0.1},
            limits={"max_attempts": 10},
            evaluation={
                "explanations": explanations,
                "cross_validation": {"folds": folds} if folds else None,
            },
        )

    def calm_result(self, seed: int, folds: int) -> Result:
        """Of a run that nothing disturbed."""
        key = seed, folds
        if key not in self._calm:
            job = self.stack.client.jobs.create(self.make_spec(*key))
            self.stack.client.jobs.wait(job["id"], timeout=120)
            self._calm[key] = self.read_result(job["id"])
        return self._calm[key]

    def read_result(self, job_id: str) -> Result:
        """Everything is downloaded, and so held against its digest."""
        client = self.stack.client
        newest = next(iter(client.checkpoints.list(job_id)))
        path = self.home / "weights"
        client.checkpoints.download(newest["id"], path, format="safetensors")
        weights, explanations = path.read_bytes(), {}
        for file in client.jobs.explanations(job_id):
            client.jobs.download_explanation(job_id, file["name"], path)
            explanations[file["name"]] = path.read_bytes()
        evaluation = client.jobs.evaluation(job_id)
        return Result(weights, explanations, evaluation["cross_validation"])

    def run(self, case: Case) -> Case:
        calm = self.calm_result(case.seed, case.folds)
        order = self.faults / case.point
        order.write_text(case.mode)
        if case.point in TRIGGERS:
            point, mode = TRIGGERS[case.point]
            (self.faults / point).write_text(mode)
        try:
            if case.mode == "freeze":
                threading.Thread(target=self._thaw_after_the_lease, args=[order]).start()
            job_id = self._submit(self.make_spec(case.seed, case.folds))
            self.stack.client.jobs.wait(job_id, timeout=120)
        except Exception as error:  # a case that breaks the harness is a finding, not the end
            case.violations.append(f"{type(error).__name__}: {error}")
            return case
        finally:
            case.fired = not order.exists()
            order.unlink(missing_ok=True)
        case.violations += self._check(job_id, calm)
        if case.fired:
            case.recovery_seconds = self._recovery_seconds(job_id, order)
        return case

    def _submit(self, spec: dict[str, Any]) -> str:
        """As a careful client does: with one key, until there is an answer."""
        key = uuid.uuid4().hex

        def try_it() -> str | None:
            try:
                return self.stack.client.jobs.create(spec, idempotency_key=key)["id"]
            except (ApiError, ConnectionFailed):
                return None

        return wait_until(try_it, "the job is submitted")

    def _thaw_after_the_lease(self, order: Path) -> None:
        """Wait until the frozen process has lost its job, then let it go on as a zombie."""
        wait_until(lambda: not order.exists(), "the fault fires or the case ends")
        time.sleep(LEASE_SECONDS + 1.5)
        for process in psutil.Process(self.stack.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_STOPPED:
                    process.send_signal(signal.SIGCONT)

    def _check(self, job_id: str, calm: Result) -> list[str]:
        truth = Truth(self.stack)
        try:
            found = find_violations(self.stack, truth, job_id)
        finally:
            truth.close()
        result = self.read_result(job_id)
        if result.weights != calm.weights:
            found.append("its weights differ from the calm run's")
        if result.explanations != calm.explanations or not calm.explanations:
            found.append("its explanations differ from the calm run's")
        if result.cross_validation != calm.cross_validation:
            found.append("its folds differ from the calm run's")
        return found

    def _recovery_seconds(self, job_id: str, order: Path) -> float | None:
        """From the fault to the next start of an attempt; None when none was needed."""
        fired = order.with_name(f"{order.name}.fired")
        truth = Truth(self.stack)
        try:
            rows = truth.query(
                "SELECT extract(epoch FROM min(time)) FROM events WHERE job_id = %s"
                " AND time > to_timestamp(%s) AND data->>'phase' = 'preparing'",
                job_id,
                fired.stat().st_ctime,  # a rename sets it
            )
        finally:
            truth.close()
        return None if rows[0][0] is None else float(rows[0][0]) - fired.stat().st_ctime


def list_cases(points: tuple[str, ...], seeds: int) -> Iterator[Case]:
    for seed in range(seeds):
        for point in points:
            for mode in MODES:
                yield Case(point, mode, seed)


def write_table(cases: list[Case]) -> str:
    """Markdown: one row per point, one column per mode."""
    lines = [f"| point | {' | '.join(MODES)} |", "|---|" + "---|" * len(MODES)]
    for point in dict.fromkeys(case.point for case in cases):
        cells = []
        for mode in MODES:
            mine = [case for case in cases if (case.point, case.mode) == (point, mode)]
            good = sum(not case.violations for case in mine)
            fired = sum(case.fired for case in mine)
            cells.append(
                f"{good}/{len(mine)}" + ("" if fired == len(mine) else f" (fired {fired})")
            )
        lines.append(f"| `{point}` | {' | '.join(cells)} |")
    times = [case.recovery_seconds for case in cases if case.recovery_seconds is not None]
    bad = [case for case in cases if case.violations]
    lines += [
        "",
        f"{len(cases)} cases, {sum(c.fired for c in cases)} faults fired, {len(bad)} bad.",
    ]
    if times:
        lines.append(
            f"Recovery: median {statistics.median(times):.2f} s, worst {max(times):.2f} s"
            f" (lease {LEASE_SECONDS:g} s)."
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", nargs="*", default=POINTS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    matrix, done = Matrix(), []
    try:
        for case in list_cases(tuple(arguments.points), arguments.seeds):
            done.append(matrix.run(case))
            mark = "ok" if not case.violations else f"BAD {case.violations}"
            fired = "" if case.fired else " (not reached)"
            print(f"{case.point} {case.mode} seed {case.seed}{fired}: {mark}", flush=True)
    finally:
        matrix.close()
    table = write_table(done)
    print(table)
    if arguments.out:
        arguments.out.write_text(table + "\n")
    return 1 if any(case.violations for case in done) else 0


if __name__ == "__main__":
    sys.exit(main())
