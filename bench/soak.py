"""Many jobs while workers, API and Redis are killed at random: each ends once, with its weights.

    python -m bench.soak [--minutes 10] [--jobs 200] [--slots 2] [--seed 0] [--out FILE]

Starts a stack of its own and harms only that one's processes. Jobs come over the first two thirds
of the time. Afterwards every job is held against the invariants of the design and against the
weights of an undisturbed run. Prints Markdown tables; the exit status says whether all is well.
"""

import argparse
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from client import ApiError, ConnectionFailed
from tests.chaos.invariants import Truth, find_violations
from tests.e2e import jobs
from tests.e2e.conftest import Stack, start_stack, stop_stack, wait_until

SETTINGS = {
    "lease_seconds": "4",
    "renew_seconds": "0.5",
    "reconcile_seconds": "0.5",
    "backoff_seconds": "0.1",
    "stop_grace_seconds": "20",
    "max_losses": "50",
    "threads": "1",
}
SPECS = 5  # distinct jobs; the others repeat them
PAUSE_SECONDS = (1.0, 8.0)  # between faults
SETTLE_SECONDS = 900.0  # for the jobs that are left when the faults end
SAMPLE_SECONDS = 2.0
YOUNG_SECONDS = 15.0  # a process still grows into its size
OLD_ENOUGH_SECONDS = 30.0


# ---------------------------------------------------------------- faults


def kill_worker(stack: Stack) -> None:
    stack.find("worker.celery")[0].kill()


def kill_supervisor(stack: Stack) -> None:
    main = stack.find("worker.celery")[0]
    children = [child for child in main.children() if "worker.celery" in " ".join(child.cmdline())]
    random.choice(children).kill()


def kill_warm_server(stack: Stack) -> None:
    random.choice(stack.find("worker.warm")).kill()  # or its fork, the trainer


def kill_api(stack: Stack) -> None:
    stack.find("uvicorn")[0].kill()


def kill_redis(stack: Stack) -> None:
    stack.find("redis-server")[0].kill()


def freeze_redis(stack: Stack) -> None:
    server = stack.find("redis-server")[0]
    server.suspend()
    time.sleep(3)
    server.resume()


def flush_redis(stack: Stack) -> None:
    url = stack.find("worker.celery")[0].environ()["TRAINSMITH_REDIS_URL"]
    with redis.Redis.from_url(url, socket_timeout=2) as connection:
        connection.flushall()


def kill_postgres(stack: Stack) -> None:
    server = find_postgres(stack)
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def find_postgres(stack: Stack) -> psutil.Process:
    return next(p for p in psutil.Process(stack.process.pid).children() if p.name() == "postgres")


def terminate_worker(stack: Stack) -> None:
    stack.find("worker.celery")[0].terminate()


FAULTS: dict[str, tuple[int, Callable[[Stack], None]]] = {  # weight, action
    "worker, main process killed": (3, kill_worker),
    "worker, supervisor killed": (3, kill_supervisor),
    "trainer or warm server killed": (4, kill_warm_server),
    "worker told to stop": (1, terminate_worker),
    "API killed": (3, kill_api),
    "Redis killed": (2, kill_redis),
    "Redis frozen for 3 s": (1, freeze_redis),
    "Redis flushed": (2, flush_redis),
    "Postgres killed": (1, kill_postgres),
}


@dataclass(eq=False)
class Nemesis(threading.Thread):
    """Does one harm after the other until told to stop."""

    stack: Stack
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(name="nemesis", daemon=True)

    def run(self) -> None:
        names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
        while not self.over.wait(self.rng.uniform(*PAUSE_SECONDS)):
            [name] = self.rng.choices(names, weights)
            try:
                FAULTS[name][1](self.stack)
            except (IndexError, KeyError, psutil.Error, redis.RedisError):
                continue  # its victim is down at the moment
            self.done[name] += 1


# ---------------------------------------------------------------- growth of the processes


@dataclass(eq=False)
class Gauge(threading.Thread):
    """Samples memory and open files of one kind of process, life by life."""

    stack: Stack
    word: str
    lives: dict[tuple[int, float], list[tuple[float, float, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(name=f"gauge {self.word}", daemon=True)

    def run(self) -> None:
        while self.stack.process.poll() is None:
            with suppress(IndexError, psutil.Error):
                process = self.stack.find(self.word)[0]
                age = time.time() - process.create_time()
                memory = process.memory_info().rss / 2**20
                life = self.lives.setdefault((process.pid, process.create_time()), [])
                life.append((age, memory, float(process.num_fds())))
            time.sleep(SAMPLE_SECONDS)

    def describe(self) -> str:
        """The median growth of the lives that were long enough, and the largest sizes seen."""
        grown = [[s for s in life if s[0] > YOUNG_SECONDS] for life in self.lives.values()]
        long = [life for life in grown if life and life[-1][0] - life[0][0] > OLD_ENOUGH_SECONDS]
        samples = [sample for life in self.lives.values() for sample in life]
        if not long:
            return f"no life was long enough to tell, of {len(self.lives)}"
        memory = statistics.median(slope(life, 1) for life in long)
        files = statistics.median(slope(life, 2) for life in long)
        return (
            f"{memory:+.2f} MiB/min, {files:+.2f} open files/min"
            f" (median of {len(long)} lives of {len(self.lives)}); at most"
            f" {max(s[1] for s in samples):.0f} MiB, {max(s[2] for s in samples):.0f} files"
        )


def slope(life: list[tuple[float, float, float]], column: int) -> float:
    """Per minute, by least squares."""
    minutes = [sample[0] / 60 for sample in life]
    return statistics.linear_regression(minutes, [sample[column] for sample in life]).slope


# ---------------------------------------------------------------- jobs


@dataclass
class Soak:
    stack: Stack
    dataset_id: str
    calm: list[bytes] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)

    def make_spec(self, number: int) -> dict[str, Any]:
        return jobs.make_spec(
            self.dataset_id,
            "digit",
            name=f"soak {number}",
            training={"epochs": 25, "seed": number % SPECS},
            checkpoints={"every_seconds": 0.2},
            limits={"max_attempts": 20},
        )

    def submit(self, number: int) -> str:
        """With one key until there is an answer, as a careful client does."""
        spec, key = self.make_spec(number), uuid.uuid4().hex
        return insist(lambda: self.stack.client.jobs.create(spec, idempotency_key=key)["id"])

    def run_calmly(self) -> None:
        for number in range(SPECS):
            job_id = self.submit(number)
            job = self.stack.client.jobs.wait(job_id, timeout=120)
            assert job["status"] == "succeeded", job
            self.calm.append(self.read_weights(job_id))

    def read_weights(self, job_id: str) -> bytes:
        newest = next(iter(self.stack.client.checkpoints.list(job_id)))
        path = self.stack.home / "weights"
        self.stack.client.checkpoints.download(newest["id"], path, format="safetensors")
        return path.read_bytes()

    def submit_all(self, count: int, seconds: float) -> None:
        started = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, started + number * seconds / count - time.monotonic()))
            self.job_ids.append(self.submit(number))

    def count_ended(self) -> Counter[str]:
        mine = set(self.job_ids)
        found = insist(lambda: list(self.stack.client.jobs.list()))
        return Counter(job["status"] for job in found if job["id"] in mine)

    def wait_for_all(self) -> None:
        """Until every job has ended, or for so long; those that have not are violations."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            counts = self.count_ended()
            if sum(counts[s] for s in ("succeeded", "failed", "cancelled")) == len(self.job_ids):
                return
            time.sleep(2)

    def check(self, truth: Truth) -> dict[str, list[str]]:
        violations = {}
        for number, job_id in enumerate(self.job_ids):
            found = find_violations(self.stack, truth, job_id)
            if not found and self.read_weights(job_id) != self.calm[number % SPECS]:
                found.append("its weights differ from the calm run's")
            if found:
                violations[job_id] = found
        rows = truth.query("SELECT count(*) FROM jobs")[0][0]
        if rows != SPECS + len(set(self.job_ids)):
            violations["all"] = [f"{rows} jobs are stored, {len(self.job_ids)} were submitted"]
        return violations


def insist(action: Callable[[], Any]) -> Any:
    def try_it() -> Any:
        try:
            return (action(),)
        except (ApiError, ConnectionFailed):
            return None

    return wait_until(try_it, "the API answers")[0]


def start(slots: int) -> Soak:
    home = Path(tempfile.mkdtemp(prefix="ts-soak-"))
    home.chmod(0o711)  # for root, PostgreSQL runs as another account
    stack = start_stack(home, slots=str(slots), **SETTINGS)
    header, rows = jobs.read_digits()
    path = jobs.write_csv(home / "digits.csv", header, rows[:600])
    return Soak(stack, stack.client.datasets.upload(path)["id"])


# ---------------------------------------------------------------- the report


def write_report(
    soak: Soak,
    truth: Truth,
    nemesis: Nemesis,
    gauges: list[Gauge],
    violations: dict[str, list[str]],
    minutes: float,
) -> str:
    ids = soak.job_ids
    attempts = Counter(
        dict(
            truth.query(
                "SELECT status, count(*) FROM attempts WHERE job_id = ANY(%s) GROUP BY 1", ids
            )
        )
    )
    statuses = Counter(
        dict(truth.query("SELECT status, count(*) FROM jobs WHERE id = ANY(%s) GROUP BY 1", ids))
    )
    lines = ["| fault | times |", "|---|---|"]
    lines += [f"| {name} | {nemesis.done[name]} |" for name in FAULTS]
    lines += [f"| all, in {minutes:g} minutes | {nemesis.done.total()} |", ""]
    lines += ["| figure | value |", "|---|---|"]
    lines += [f"| jobs submitted | {len(ids)} |"]
    lines += [f"| jobs {status} | {count} |" for status, count in sorted(statuses.items())]
    lines += [f"| attempts {status} | {count} |" for status, count in sorted(attempts.items())]
    lines += [f"| violations | {sum(map(len, violations.values()))} |"]
    lines += [f"| growth of {gauge.word} | {gauge.describe()} |" for gauge in gauges]
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    parser.add_argument("--keep", action="store_true", help="keep the data folder")
    return parser.parse_args()


def run(soak: Soak, options: argparse.Namespace) -> tuple[str, dict[str, list[str]]]:
    """The report and the violations by job."""
    soak.run_calmly()
    nemesis = Nemesis(soak.stack, random.Random(options.seed))
    gauges = [Gauge(soak.stack, "uvicorn"), Gauge(soak.stack, "worker.celery")]
    for thread in (nemesis, *gauges):
        thread.start()
    started = time.monotonic()
    soak.submit_all(options.jobs, options.minutes * 60 * 2 / 3)
    print(f"submitted {options.jobs}: {dict(soak.count_ended())}", flush=True)
    time.sleep(max(0.0, started + options.minutes * 60 - time.monotonic()))
    nemesis.over.set()
    nemesis.join()
    print(f"faults are over: {dict(soak.count_ended())}", flush=True)
    soak.wait_for_all()
    truth = Truth(soak.stack)
    violations = soak.check(truth)
    report = write_report(soak, truth, nemesis, gauges, violations, options.minutes)
    truth.close()
    return report, violations


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    random.seed(options.seed)
    soak = start(options.slots)
    print(f"seed {options.seed}, data in {soak.stack.home}", flush=True)
    try:
        report, violations = run(soak, options)
        stop_stack(soak.stack)
    finally:
        if soak.stack.process.poll() is None:
            soak.stack.process.kill()
        if not options.keep:
            shutil.rmtree(soak.stack.home, ignore_errors=True)
    print(report)
    for job_id, found in violations.items():
        print(f"{job_id}: {'; '.join(found)}")
    if options.out:
        options.out.write_text(report + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
