"""The whole product as `make up` runs it: real uvicorn, Celery worker, PostgreSQL and Redis."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from app.processes import spawn
from client import ConnectionFailed, Trainsmith

T = TypeVar("T")
PATIENCE_SECONDS = 120


def wait_until(condition: Callable[[], T], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:g} s in vain until {what}")


@dataclass
class Stack:
    home: Path
    process: subprocess.Popen[bytes]
    client: Trainsmith

    def find(self, word: str) -> list[psutil.Process]:
        """Processes of this stack whose command line holds `word`, oldest first."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        found = [child for child in children if word in " ".join(_command_line(child))]
        return sorted(found, key=psutil.Process.create_time)

    def find_worker(self) -> psutil.Process:
        return wait_until(lambda: self.find("worker.celery"), "a worker runs")[0]

    def find_trainer(self) -> psutil.Process:
        """The fork of a warm server that trains right now."""

        def trainers() -> list[psutil.Process]:
            warm = self.find("worker.warm")
            return [process for process in warm if process.ppid() in {w.pid for w in warm}]

        return wait_until(trainers, "a training process runs")[0]

    def find_api(self) -> psutil.Process:
        return wait_until(lambda: self.find("uvicorn"), "the API runs")[0]

    def answers(self) -> bool:
        try:
            next(iter(self.client.jobs.list(limit=1)), None)
        except ConnectionFailed:
            return False
        return True


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def start_stack(home: Path, **settings: str) -> Stack:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRAINSMITH_")}
    environment |= {f"TRAINSMITH_{name.upper()}": value for name, value in settings.items()}
    log = (home / "up.log").open("wb")
    process = spawn(
        [sys.executable, "-m", "app.cli", "up", "--home", home, "--port", "0"],
        output=log.fileno(),
        death_signal=signal.SIGTERM,  # when the tests are killed
        env=environment,
    )
    server = home / "server.json"
    try:
        wait_until(lambda: server.exists() or process.poll() is not None, "the stack is up")
        assert process.poll() is None
    except AssertionError:
        process.kill()
        pytest.fail((home / "up.log").read_text()[-5000:])
    url = json.loads(server.read_text())["url"]
    key = (home / "api_key").read_text().strip()
    stack = Stack(home, process, Trainsmith(url=url, api_key=key))
    wait_until(lambda: stack.find("worker.warm"), "a warm server runs")
    return stack


def stop_stack(stack: Stack) -> None:
    """Stop as Ctrl-C does, and check that nothing is left behind."""
    below = psutil.Process(stack.process.pid).children(recursive=True)
    stack.process.send_signal(signal.SIGTERM)
    assert stack.process.wait(timeout=60) == 0, (stack.home / "up.log").read_text()[-5000:]
    _, alive = psutil.wait_procs(below, timeout=5)
    assert not alive, [_command_line(process) for process in alive]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    home = Path(tempfile.mkdtemp(prefix="ts-e2e-"))
    home.chmod(0o711)  # as `up` makes one itself: for root, PostgreSQL runs as another account
    stack = start_stack(home, threads="1", reconcile_seconds="0.5")
    try:
        yield stack
        stop_stack(stack)
    finally:
        if stack.process.poll() is None:
            stack.process.kill()
        shutil.rmtree(home, ignore_errors=True)
