"""`make demo`: the whole product once through, in a temporary folder, in about a minute."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from client.answers import Job
from client.config import read_server_url
from client.errors import TrainsmithError
from client.trainsmith import Trainsmith
from client.watch import watch_job

START_SECONDS = 180.0  # the first start creates a database
STOP_SECONDS = 60.0
TARGET = "diagnosis"
SETTINGS: dict[str, dict[str, Any]] = {
    "logistic": {
        "model": {"type": "logistic"},
        "training": {"epochs": 60, "batch_size": 32, "optimizer": {"type": "adam", "lr": 0.01}},
    },
    "mlp": {
        "model": {"type": "mlp", "hidden": [16], "dropout": 0.2},
        "training": {
            "epochs": 40,
            "batch_size": 32,
            "optimizer": {"type": "adamw", "lr": 0.005, "weight_decay": 0.1},
            "schedule": {"type": "cosine", "warmup": 0.1},
            "l2": 0.002,
        },
    },
}
NEXT = """
[bold]What to try next[/]
  make up                                     start it for good (data in .trainsmith)
  curl http://127.0.0.1:8700/v1/models \\
    -H "Authorization: Bearer $(cat .trainsmith/api_key)"
  trainsmith datasets upload my.csv           train on your own table
  trainsmith jobs submit examples/mlp.json --set dataset.id=ds_… --follow
  README.md                                   the same with curl alone, and with Python
"""


class DemoFailed(Exception):
    """The demo did not get through. The message is one line, for people."""


def main() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # end like Ctrl-C, and clean up
    console = Console(highlight=False, soft_wrap=True)
    started_at = time.monotonic()
    try:
        with make_folder() as folder, start_server(folder, console) as client:
            run_demo(client, folder, console)
    except KeyboardInterrupt:
        console.print("stopped; nothing is left behind")
        sys.exit(130)
    except (DemoFailed, TrainsmithError) as error:
        console.print(f"[red]the demo failed:[/] {escape(str(error))}")
        sys.exit(1)
    seconds = time.monotonic() - started_at
    console.print(f"\n[green]All of it worked[/], in {seconds:.0f} s. Everything is stopped again.")
    console.print(NEXT)


def run_demo(client: Trainsmith, folder: Path, console: Console) -> None:
    train, test = write_tables(folder)
    console.rule("breast cancer: 30 measurements, malignant or benign")
    train_id = client.datasets.upload(train)["id"]
    test_id = client.datasets.upload(test)["id"]
    console.print(f"uploaded {train.name} as {train_id}\nuploaded {test.name} as {test_id}")
    jobs = [train_model(client, console, family, train_id, test_id) for family in SETTINGS]
    console.rule("the better of the two")
    measured = {job["id"]: read_accuracy(client, job) for job in jobs}
    best = max(measured, key=measured.__getitem__)
    bundle = download_bundle(client, best, folder, console)
    check_predictions(bundle, test, measured[best], console)


def train_model(
    client: Trainsmith, console: Console, family: str, train_id: str, test_id: str
) -> Job:
    console.rule(family)
    dataset = {"id": train_id, "target": TARGET, "test_id": test_id}
    spec = {"name": f"demo-{family}", "dataset": dataset, **SETTINGS[family]}
    submitted = client.jobs.create(spec)
    job = watch_job(client, submitted["id"], console)
    if job["status"] != "succeeded":
        raise DemoFailed(f"{job['id']} {job['status']}: {job['error']}")
    return job


def read_accuracy(client: Trainsmith, job: Job) -> float:
    accuracy: float = client.jobs.evaluation(job["id"])["test"]["accuracy"]
    return accuracy


def write_tables(folder: Path) -> tuple[Path, Path]:
    """A fifth of the rows is held out: the service sees them only to measure at the end."""
    data = load_breast_cancer()
    header = [*(name.replace(" ", "_") for name in data.feature_names), TARGET]
    labels = [data.target_names[index] for index in data.target]
    rows = [[*values, label] for values, label in zip(data.data.tolist(), labels, strict=True)]
    parts = train_test_split(rows, test_size=0.2, stratify=labels, random_state=0)
    paths = folder / "train.csv", folder / "test.csv"
    for path, part in zip(paths, parts, strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *part])
    return paths


# ---------------------------------------------------------------- the model, without the service


def download_bundle(client: Trainsmith, job_id: str, folder: Path, console: Console) -> Path:
    """Returns the unpacked folder, each file of it checked against the manifest."""
    checkpoint = client.checkpoints.best(job_id)
    if checkpoint is None:
        raise DemoFailed(f"{job_id} has no checkpoint")
    archive, bundle = folder / "model.zip", folder / "model"
    sha256 = client.checkpoints.download(checkpoint["id"], archive)
    console.print(f"downloaded {checkpoint['id']}: sha256 {sha256[:16]}… matches")
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name, facts in manifest.items():
        if hashlib.sha256((bundle / name).read_bytes()).hexdigest() != facts["sha256"]:
            raise DemoFailed(f"{name} is not what the manifest says")
    console.print(f"unpacked {', '.join(sorted(manifest))}: all match the manifest")
    return bundle


def check_predictions(bundle: Path, test: Path, measured: float, console: Console) -> None:
    """Predict with nothing of ours but the bundle, and count what is right."""
    with test.open(newline="") as file:
        truth = [row[TARGET] for row in csv.DictReader(file)]
    predicted = predict(bundle, test)
    right = sum(a == b for a, b in zip(predicted, truth, strict=True))
    expected = measured * len(truth)
    console.print(
        f"predict.py, alone, on {test.name}: {right} of {len(truth)} right; "
        f"the service measured {measured:.4f} = {expected:.0f} of {len(truth)}"
    )
    if abs(right - expected) > 1e-3:
        raise DemoFailed("the downloaded model does not do what the service measured")


def predict(bundle: Path, table: Path) -> list[str]:
    command = [sys.executable, "-I", str(bundle / "predict.py"), str(table)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise DemoFailed(f"predict.py failed: {done.stderr.strip()[-500:]}")
    return done.stdout.splitlines()


# ---------------------------------------------------------------- the server, for a minute


@contextmanager
def make_folder() -> Iterator[Path]:
    """A temporary folder with a short path: sockets in it may have 107 bytes."""
    short = "/tmp"  # noqa: S108 - mkdtemp makes the name
    parent = short if os.access(short, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="ts-demo-", dir=parent))
    if os.geteuid() == 0:
        folder.chmod(0o711)  # the database does not run as root, and has to pass through
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def start_server(folder: Path, console: Console) -> Iterator[Trainsmith]:
    """The stack as `make up` starts it, on a free port. On failure the end of its log is shown."""
    home, log = folder / "home", folder / "server.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAINSMITH_")}
    command = [sys.executable, "-m", "app.cli", "up", "--home", str(home), "--port", "0"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us: we stop it in order
        )
    try:
        console.print(f"starting PostgreSQL, Redis, the API and a worker; log: {log}")
        with wait_until_up(server, home) as client:
            console.print(f"ready at {client.url}")
            yield client
    except (DemoFailed, TrainsmithError):
        console.print(read_tail(log), markup=False)
        raise
    finally:
        stop_server(server)


def wait_until_up(server: subprocess.Popen[bytes], home: Path) -> Trainsmith:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if url := read_server_url(home):
            return Trainsmith(url, (home / "api_key").read_text().strip())
        if server.poll() is not None:
            raise DemoFailed(f"the server ended with status {server.returncode}")
        time.sleep(0.1)
    raise DemoFailed(f"the server was not up within {START_SECONDS:.0f} s")


def stop_server(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave a server behind
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def read_tail(log: Path, lines: int = 40) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


if __name__ == "__main__":
    main()
