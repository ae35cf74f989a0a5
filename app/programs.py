"""The processes of the product, and how one that ended is brought back."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from subprocess import Popen
from typing import Protocol

from app.processes import spawn
from app.queue import QUEUE

TEMPORARY = "tmp"  # in the data folder: what a killed program leaves there, a start removes
API_DRAIN_SECONDS = 10  # for streams that are open when the API stops
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 60.0  # a child that ran this long starts with a clean slate


class Part(Protocol):
    """Something that runs as a child process: an embedded server, or a Program."""

    process: Popen[bytes] | None

    def start(self) -> object: ...

    def stop(self) -> None: ...


class Program:
    """One of our own processes. It dies with us, at once: its work is fenced and resumable."""

    def __init__(
        self, command: Sequence[str], output: int, cwd: Path, grace_seconds: float
    ) -> None:
        self.process: Popen[bytes] | None = None
        self.grace_seconds = grace_seconds
        self._command = command
        self._output = output
        self._cwd = cwd  # uvicorn and celery import from it first: no folder of the user's

    def start(self) -> None:
        self.process = spawn(
            self._command,
            output=self._output,
            death_signal=signal.SIGKILL,
            env=child_env() | {"TMPDIR": str(self._cwd / TEMPORARY)},
            cwd=self._cwd,
        )

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self) -> None:
        self.send(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@dataclass
class Watched:
    """A part that is brought back when it ends, each time a little later."""

    name: str
    part: Part
    failures: int = 0
    started_at: float = 0.0
    retry_at: float | None = None

    def start(self) -> None:
        self.started_at = time.monotonic()
        self.retry_at = None
        self.part.start()

    def check(self, say: Callable[[str], None]) -> None:
        process = self.part.process
        if process is not None and process.poll() is None:
            return
        now = time.monotonic()
        if self.retry_at is None:
            steady = now - self.started_at > STEADY_SECONDS
            self.failures = 1 if steady else self.failures + 1
            delay = min(0.25 * 2**self.failures, LONGEST_DELAY_SECONDS)
            self.retry_at = now + delay
            status = "is down" if process is None else f"ended with status {process.returncode}"
            say(f"{self.name} {status}: starting it again in {delay:.1f} s")
        elif now >= self.retry_at:
            self._start_again(say)

    def _start_again(self, say: Callable[[str], None]) -> None:
        try:
            self.start()
        except Exception as error:  # whatever it is, the next try may do better
            say(f"{self.name} did not start: {error}")


def api_command(host: str, port: int) -> list[str]:
    options = ["--host", host, "--port", str(port), "--no-server-header", "--no-access-log"]
    drain = ["--timeout-graceful-shutdown", str(API_DRAIN_SECONDS)]
    return [sys.executable, "-m", "uvicorn", "app.main:app", *options, *drain]


def worker_command(slots: int) -> list[str]:
    python = [sys.executable, "-W", "ignore:You're running the worker with superuser"]
    celery = ["-m", "celery", "-A", "worker.celery:celery", "--quiet", "worker"]
    pool = ["-P", "prefork", "-c", str(slots), "-Q", QUEUE, "--loglevel", "INFO"]
    alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [*python, *celery, *pool, *alone]


def child_env() -> dict[str, str]:
    env = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    if sys.stdout.isatty():
        env.setdefault("TRAINSMITH_LOG_JSON", "false")
    try:
        distribution("trainsmith")
    except PackageNotFoundError:  # a checkout that was never installed
        checkout = str(Path(__file__).parents[1])
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [checkout, env.get("PYTHONPATH")]))
    return env
