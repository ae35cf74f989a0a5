"""`trainsmith-server up`, as a process of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import httpx2
import psutil
import pytest

from app.embedded import EmbeddedPostgres, EmbeddedRedis

CHECKOUT = Path(__file__).parents[2]


class Up:
    started: ClassVar[list["Up"]] = []

    def __init__(self, home: Path, *options: str, **env: str) -> None:
        self.home = home
        self.log = home.with_suffix(".log")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TRAINSMITH_")}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "up", "--home", str(home), *options],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=CHECKOUT,
                env=inherited | env,
            )
        self.started.append(self)

    def wait_until_ready(self) -> "Up":
        wait_for(lambda: "ready at" in self.log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    @property
    def url(self) -> str:
        url = json.loads((self.home / "server.json").read_text())["url"]
        assert isinstance(url, str)
        return url

    def is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/readyz", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def find(self, word: str) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                if word in " ".join(child.cmdline()):
                    return child
        return None

    def replace(self, word: str) -> None:
        """Kill the child and wait for its successor."""
        victim = self.find(word)
        assert victim is not None
        victim.kill()
        wait_for(lambda: (new := self.find(word)) is not None and new != victim)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def parent() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ts-"))
    folder.chmod(0o711)  # for root, PostgreSQL runs as another account
    yield folder
    for up in Up.started:  # those that a failed test left
        up.process.kill()
        up.process.wait()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def up(parent: Path) -> Up:
    return Up(parent / "home", "--port", "0").wait_until_ready()


def test_the_first_key_opens_the_api_and_is_kept_private(up: Up) -> None:
    file = up.home / "api_key"
    key = file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert key in up.log.read_text()
    answer = httpx2.get(f"{up.url}/v1/jobs", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    assert httpx2.get(f"{up.url}/v1/jobs").status_code == 401


def test_every_line_says_which_process_it_is_from(up: Up) -> None:
    names = {line.split("│")[0].strip() for line in up.log.read_text().splitlines()}
    assert names == {"postgres", "redis", "api", "worker", "up"}


def test_what_the_stack_writes_is_nobody_elses(up: Up) -> None:
    readable = [
        path
        for path in up.home.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077
        if not any(part.startswith("wheel-") for part in path.parts)
    ]
    assert readable == []


def test_a_second_one_on_the_same_folder_is_refused_in_one_line(up: Up) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "app.cli", "up", "--home", str(up.home), "--port", "0"],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
    )
    assert second.returncode == 1
    assert second.stdout == ""
    assert second.stderr.strip() == (
        f"error: the data folder {up.home} is in use by process {up.process.pid}: "
        "stop that one, or choose another folder with --home"
    )
    assert up.is_ready()


def test_a_port_in_use_is_named_with_the_fix(parent: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = Up(parent / "other", "--port", str(port))
        assert up.process.wait(timeout=60) == 1
    assert up.log.read_text() == (
        f"error: cannot listen on port {port} of 127.0.0.1 (Address already in use): stop what "
        "uses it, or choose another with --port (0 picks a free one)\n"
    )


@pytest.mark.parametrize("word", ["uvicorn", "celery", "redis-server", "bin/postgres"])
def test_a_killed_child_is_started_again(up: Up, word: str) -> None:
    up.replace(word)
    wait_for(up.is_ready)


def test_it_stops_in_order_and_starts_again_with_the_same_key(up: Up) -> None:
    children = psutil.Process(up.process.pid).children(recursive=True)
    assert up.stop() == 0
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert not (up.home / "server.json").exists()
    key = (up.home / "api_key").read_text()
    again = Up(up.home, "--port", "0").wait_until_ready()
    assert (up.home / "api_key").read_text() == key
    assert "first API key" not in again.log.read_text()
    children = psutil.Process(again.process.pid).children(recursive=True)
    again.process.kill()
    again.process.wait()
    assert psutil.wait_procs(children, timeout=30)[1] == []
    third = Up(up.home, "--port", "0").wait_until_ready()
    assert third.is_ready()
    assert third.stop() == 0


def test_configured_servers_are_used_and_nothing_embedded_starts(parent: Path) -> None:
    postgres, redis = EmbeddedPostgres(parent / "own"), EmbeddedRedis(parent / "own")
    servers = {
        "TRAINSMITH_DATABASE_URL": postgres.start(),
        "TRAINSMITH_REDIS_URL": redis.start(),
    }
    try:
        up = Up(parent / "external", "--port", "0", **servers).wait_until_ready()
        assert up.is_ready()
        assert not up.find("postgres")
        assert not up.find("redis-server")
        assert up.stop() == 0
    finally:
        redis.stop()
        postgres.remove()


def test_it_ends_when_its_folder_is_deleted(parent: Path) -> None:
    up = Up(parent / "deleted", "--port", "0").wait_until_ready()
    children = psutil.Process(up.process.pid).children(recursive=True)
    shutil.rmtree(up.home)
    assert up.process.wait(timeout=60) == 1
    assert f"error: the data folder {up.home} is gone" in up.log.read_text()
    assert psutil.wait_procs(children, timeout=5)[1] == []
