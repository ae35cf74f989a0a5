"""Trains on a table and on tokens of more than 5 GB each through the API, and watches memory.

    python -m bench.large [--folder FOLDER] [--gigabytes 5] [--only table] [--only tokens]

    --gigabytes 0: only the comparison with jobs held in memory

Makes the data, starts a stack of its own in FOLDER (default: a temporary one), uploads, trains, and
removes everything. Needs about four times as much room on disk. Prints Markdown tables: the most
memory that each process had at once (VmHWM, of which what is mapped from files can be given back),
the time of each part, and the speed of training beside the same job held in memory. The exit status
says whether the training process stayed within a gigabyte.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psutil

from tests.e2e.conftest import Stack, start_stack, stop_stack

GIGABYTE = 10**9
LIMIT_BYTES = GIGABYTE
WIDTH = 80
CHARACTERS = 512
SAMPLE_SECONDS = 0.1
ENDED = ("succeeded", "failed", "cancelled")
ROLES = {"uvicorn": "API", "app.datasets.inspect": "reader of the upload", "worker.warm": "trainer"}
COMPARED = {"table": (1_000_000, 10), "tokens": (50_000, 1)}  # rows, epochs


def make_table(path: Path, size_bytes: int) -> None:
    """Numbers of few digits, so that the file is smaller than the 4 bytes of each once encoded."""
    rows = -(-size_bytes // (4 * WIDTH))
    cells = ", ".join(f"floor(random() * 4096) / 64 AS c{i}" for i in range(WIDTH))
    target = "CASE WHEN c0 + c1 - c2 + 8 * random() > 36 THEN 'yes' ELSE 'no' END AS y"
    copy(f"SELECT *, {target} FROM (SELECT {cells} FROM range({rows}))", path)


def make_tokens(path: Path, size_bytes: int) -> None:
    """Texts of hexadecimal digits; in those of one class some are other letters."""
    rows = -(-size_bytes // (4 * CHARACTERS))
    piece = "md5(random()::VARCHAR)"
    half = " || ".join([piece] * (CHARACTERS // 64))
    marked = f"CASE WHEN y = 'yes' THEN 'xyz' || {piece}[:29] ELSE {piece} END"
    rest = " || ".join([piece] * (CHARACTERS // 64 - 1))
    labels = f"SELECT CASE WHEN random() < 0.5 THEN 'yes' ELSE 'no' END AS y FROM range({rows})"
    copy(f"SELECT {half} || {marked} || {rest} AS text, y FROM ({labels})", path)


def copy(query: str, path: Path) -> None:
    with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": ""}) as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE 48000)")


TABLE: dict[str, Any] = {
    "model": {"type": "mlp", "hidden": [64]},
    "dataset": {"target": "y", "split": {"validation": 0.02, "test": 0.02}},
    "training": {"epochs": 1, "batch_size": 1024},
}
TOKENS: dict[str, Any] = {
    "model": {"type": "cnn", "embedding": 8, "channels": [8]},
    "dataset": {
        "target": "y",
        "text": {"type": "tokens", "tokenizer": "character", "max_length": CHARACTERS},
        "split": {"validation": 0.02, "test": 0.02},
    },
    "training": {"epochs": 1, "batch_size": 256},
}
CASES: dict[str, tuple[Callable[[Path, int], None], dict[str, Any], int]] = {
    "table": (make_table, TABLE, 4 * WIDTH),
    "tokens": (make_tokens, TOKENS, 4 * CHARACTERS),
}


# ---------------------------------------------------------------- watching


@dataclass
class Peak:
    """Bytes, each at its highest."""

    whole: int = 0
    anonymous: int = 0
    files: int = 0


@dataclass
class Watch:
    """Looks at the processes of a stack again and again."""

    stack: Stack
    peaks: dict[str, Peak] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            for process in psutil.Process(self.stack.process.pid).children(recursive=True):
                try:
                    self.look(process)
                except (psutil.Error, FileNotFoundError, ProcessLookupError):
                    continue

    def look(self, process: psutil.Process) -> None:
        command = " ".join(process.cmdline())
        role = next((role for word, role in ROLES.items() if word in command), None)
        if role is None or (role == "trainer" and "worker.warm" not in name_parent(process)):
            return
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        facts = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
        peak = self.peaks.setdefault(role, Peak())
        peak.whole = max(peak.whole, 1024 * int(facts["VmHWM"]))
        peak.anonymous = max(peak.anonymous, 1024 * int(facts["RssAnon"]))
        peak.files = max(peak.files, 1024 * int(facts["RssFile"]))


def name_parent(process: psutil.Process) -> str:
    parent = process.parent()
    return " ".join(parent.cmdline()) if parent else ""


# ---------------------------------------------------------------- running


def follow(stack: Stack, job_id: str) -> dict[str, float]:
    """Seconds in each phase."""
    seconds: dict[str, float] = {}
    before = time.monotonic()
    while (job := stack.client.jobs.get(job_id))["status"] not in ENDED:
        time.sleep(SAMPLE_SECONDS)
        now = time.monotonic()
        phase = job["phase"] or job["status"]
        seconds[phase] = seconds.get(phase, 0.0) + now - before
        before = now
    if job["status"] != "succeeded":
        sys.exit(f"{job['name']} {job['status']}: {job['error']}")
    return seconds


def submit(stack: Stack, dataset_id: str, spec: dict[str, Any], hold: str) -> str:
    dataset = {"id": dataset_id, "hold": hold, **spec["dataset"]}
    job = stack.client.jobs.create({"name": f"large, {hold}", **spec, "dataset": dataset})
    print(f"    held on {job['spec']['dataset']['hold']}", file=sys.stderr)
    return str(job["id"])


def measure_speed(stack: Stack, job_id: str) -> float:
    """Training rows per second, the median of what the job reports."""
    (series,) = stack.client.jobs.metrics(job_id, "train/samples_per_second")
    speeds = sorted(value for _, value in series["points"])
    return float(speeds[len(speeds) // 2])


def run_large(stack: Stack, name: str, folder: Path, size_bytes: int) -> Watch:
    make, spec, _ = CASES[name]
    path, seconds = folder / f"{name}.parquet", {}
    started = time.monotonic()
    make(path, size_bytes)
    seconds["making the data"] = time.monotonic() - started
    file_bytes = path.stat().st_size
    watch = Watch(stack)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    started = time.monotonic()
    dataset = stack.client.datasets.upload(path)
    path.unlink()
    seconds["upload"] = time.monotonic() - started
    job_id = submit(stack, dataset["id"], spec, "auto")
    seconds |= follow(stack, job_id)
    watch.ended.set()
    thread.join()
    evaluation = stack.client.jobs.evaluation(job_id)
    print(
        f"\n{name}: {dataset['rows']:,} rows, a file of {file_bytes / GIGABYTE:.2f} GB, encoded "
        f"{size_bytes / GIGABYTE:.2f} GB; test accuracy {evaluation['test']['accuracy']:.3f}, "
        f"{measure_speed(stack, job_id):,.0f} rows/s\n"
    )
    print("| process | most memory, MB | of it anonymous | mapped files |\n|---|---|---|---|")
    for role, peak in watch.peaks.items():
        figures = (peak.whole, peak.anonymous, peak.files)
        print(f"| {role} | " + " | ".join(f"{each / 10**6:,.0f}" for each in figures) + " |")
    print("\n| part | seconds |\n|---|---|")
    for part, spent in seconds.items():
        print(f"| {part} | {spent:,.0f} |")
    sys.stdout.flush()
    stack.client.jobs.delete(job_id)
    stack.client.datasets.delete(dataset["id"])
    return watch


def compare(stack: Stack, name: str, folder: Path) -> None:
    """The same job, small enough for memory, held in memory and on disk."""
    make, spec, row_bytes = CASES[name]
    path, (rows, epochs) = folder / f"{name}-small.parquet", COMPARED[name]
    make(path, rows * row_bytes)
    spec = {**spec, "training": {**spec["training"], "epochs": epochs}}
    dataset_id = stack.client.datasets.upload(path)["id"]
    speeds: dict[str, list[float]] = {"memory": [], "disk": []}
    for hold in ("memory", "disk") * 3:
        job_id = submit(stack, dataset_id, spec, hold)
        follow(stack, job_id)
        speeds[hold].append(measure_speed(stack, job_id))
    shown = {hold: ", ".join(f"{each:,.0f}" for each in found) for hold, found in speeds.items()}
    print(
        f"\n{name}, {rows:,} rows: rows/s from memory {shown['memory']}; from disk {shown['disk']}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--only", action="append", choices=list(CASES))
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ts-large-", dir=arguments.folder))
    folder.chmod(0o711)  # for root, PostgreSQL runs as another account
    (folder / "home").mkdir(mode=0o711)
    stack = start_stack(folder / "home", max_upload_bytes=str(2**40), threads="1")
    most = 0
    try:
        for name in arguments.only or CASES:
            if arguments.gigabytes:
                watch = run_large(stack, name, folder, int(arguments.gigabytes * GIGABYTE))
                most = max(most, watch.peaks["trainer"].whole)
            compare(stack, name, folder)
        stop_stack(stack)
    finally:
        if stack.process.poll() is None:
            stack.process.kill()
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(most > LIMIT_BYTES)


if __name__ == "__main__":
    main()
