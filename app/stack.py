"""`trainsmith-server up`: every part of the product, under one parent that ends when they do."""

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import httpx2
from sqlalchemy import select

from app.config import Settings, get_settings
from app.db import get_engine, reset_engine, transaction
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.embedded.folders import make_home, write_private
from app.embedded.lock import take_lock
from app.migrate import upgrade
from app.output import Output
from app.programs import API_DRAIN_SECONDS, TEMPORARY, Program, Watched, api_command, worker_command
from app.projects import service as projects
from app.projects.tables import ApiKey

DEFAULT_PROJECT = "default"
POLL_SECONDS = 0.2
READY_SECONDS = 120.0
STOP_MARGIN_SECONDS = 15.0  # beyond what a stopping job gets


class StackError(Exception):
    """The stack cannot run. The message is one line, for people."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, in the middle of something that may be dropped."""


class Signals:
    """Ctrl-C and SIGTERM: the first one stops in order, the second one stops waiting."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.hurried = threading.Event()
        self._may_interrupt = False

    @contextmanager
    def watch(self) -> Iterator[None]:
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A signal ends the block by an exception, instead of waiting for the next look."""
        self._may_interrupt = True
        try:
            if self.stopping.is_set():
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.stopping.is_set():
            self.hurried.set()
        self.stopping.set()
        if self._may_interrupt:
            self._may_interrupt = False
            raise Interrupted


def run_stack() -> None:
    """Run everything until a signal comes. Raises StackError or EmbeddedError."""
    settings = get_settings()
    signals = Signals()
    output = Output()
    with signals.watch(), ExitStack() as cleanup:
        make_home(settings.home)
        os.umask(0o077)  # what we and our children write below is nobody else's
        lock = settings.home / "up.lock"
        cleanup.callback(os.close, take_lock(lock))
        (settings.home / "server.json").unlink(missing_ok=True)  # left by one that was killed
        cleanup.callback(output.close)
        port = choose_port(settings.host, settings.port)
        try:
            with signals.interruptible():
                watched = start_servers(settings, output, cleanup)
                prepare_database(settings.home, output.say)
                programs = start_programs(settings, port, output, signals, cleanup)
                watched += programs
                announce(settings, port, programs[0], output.say, cleanup)
        except Interrupted:
            output.say("stopping")
            return
        while not signals.stopping.wait(POLL_SECONDS):
            if not lock.exists():  # or the servers would come back to life in empty folders
                raise StackError(f"the data folder {settings.home} is gone")
            check_all(watched, signals, output.say)
        output.say("stopping; a second Ctrl-C stops without waiting for jobs to save")


def check_all(watched: Sequence[Watched], signals: Signals, say: Callable[[str], None]) -> None:
    try:
        with signals.interruptible():
            for each in watched:
                each.check(say)
    except Interrupted:
        return


def start_servers(settings: Settings, output: Output, cleanup: ExitStack) -> list[Watched]:
    """The servers that the environment does not name; then it does, for us and our children."""
    watched = []
    if settings.database_url is None:
        postgres = EmbeddedPostgres(settings.home, output.open_pipe("postgres"))
        os.environ["TRAINSMITH_DATABASE_URL"] = postgres.start()
        cleanup.callback(postgres.stop)
        watched.append(Watched("postgres", postgres, started_at=time.monotonic()))
    if settings.redis_url is None:
        redis = EmbeddedRedis(settings.home, output.open_pipe("redis"))
        os.environ["TRAINSMITH_REDIS_URL"] = redis.start()
        cleanup.callback(redis.stop)
        watched.append(Watched("redis", redis, started_at=time.monotonic()))
    os.environ["TRAINSMITH_HOME"] = str(settings.home)
    get_settings.cache_clear()
    return watched


def prepare_database(home: Path, say: Callable[[str], None]) -> None:
    upgrade()
    key = create_first_key(home / "api_key")
    if key is not None:
        say(f"your first API key, also kept in {home / 'api_key'}: {key}")
    get_engine().dispose()
    reset_engine()


def create_first_key(file: Path) -> str | None:
    """A project and a key for it, if there is no key at all. The key is only shown now."""
    with transaction() as session:
        if session.scalar(select(ApiKey.id).limit(1)) is not None:
            return None
        project = projects.create_project(session, DEFAULT_PROJECT)
        _, key = projects.create_key(session, project.id, "first", ["read", "write", "admin"])
        # Before the commit: a key that was stored but never written down would open nothing.
        write_private(file, f"{key}\n", (os.geteuid(), os.getegid()))
    return key


def start_programs(
    settings: Settings, port: int, output: Output, signals: Signals, cleanup: ExitStack
) -> list[Watched]:
    temporary = settings.home / TEMPORARY
    shutil.rmtree(temporary, ignore_errors=True)  # of programs that were killed
    temporary.mkdir()
    cleanup.callback(shutil.rmtree, temporary, ignore_errors=True)
    api = Program(
        api_command(settings.host, port),
        output.open_pipe("api"),
        cwd=settings.home,
        grace_seconds=API_DRAIN_SECONDS + 5,
    )
    worker = Program(
        worker_command(settings.slots),
        output.open_pipe("worker"),
        cwd=settings.home,
        grace_seconds=settings.stop_grace_seconds + STOP_MARGIN_SECONDS,
    )
    programs = [api, worker]
    cleanup.callback(stop_programs, programs, signals)
    watched = [Watched("api", api), Watched("worker", worker)]
    for each in watched:
        each.start()
    return watched


def stop_programs(programs: Sequence[Program], signals: Signals) -> None:
    """All at once, each with its own time; a second signal ends the waiting."""
    started = time.monotonic()
    for program in programs:
        program.send(signal.SIGTERM)
    while not signals.hurried.wait(0.05):
        elapsed = time.monotonic() - started
        if not any(each.is_running() and elapsed < each.grace_seconds for each in programs):
            break
    for program in programs:
        program.stop()


def announce(
    settings: Settings, port: int, api: Watched, say: Callable[[str], None], cleanup: ExitStack
) -> None:
    url = make_url(settings.host, port)
    wait_until_ready(url, api)
    record = settings.home / "server.json"
    write_private(record, json.dumps({"url": url}), (os.geteuid(), os.getegid()))
    cleanup.callback(record.unlink, missing_ok=True)
    say(f"ready at {url}; documentation at {url}/docs")
    say(f"data in {settings.home}, API key in {settings.home / 'api_key'}")


def wait_until_ready(url: str, api: Watched) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if all(httpx2.get(url + path, timeout=5).is_success for path in ("/livez", "/readyz")):
                return
        except httpx2.TransportError:
            pass
        process = api.part.process
        if process is not None and process.poll() is not None:
            raise StackError(f"the API ended with status {process.returncode}: its log is above")
        time.sleep(0.1)
    raise StackError(f"the API was not ready within {READY_SECONDS:.0f} s: its log is above")


def choose_port(host: str, port: int) -> int:
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            chosen: int = probe.getsockname()[1]
            return chosen
    except OSError as error:
        raise StackError(
            f"cannot listen on port {port} of {host} ({error.strerror}): stop what uses it, or "
            "choose another with --port (0 picks a free one)"
        ) from None


def make_url(host: str, port: int) -> str:
    """Where a client on this machine reaches a server that listens on `host`."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  a comparison
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"
