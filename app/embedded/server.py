"""What the embedded servers have in common: one owner, one process, one socket."""

import hashlib
import os
import re
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from app.embedded.errors import EmbeddedError
from app.embedded.folders import Account, fits_socket, make_home
from app.embedded.lock import take_lock
from app.processes import Escalation, spawn, stop_process, stop_strays

START_SECONDS = 120.0  # replaying the log after a crash takes its time


class EmbeddedServer:
    """One server of one data folder, and the proof (a file lock) that it is ours alone."""

    program: ClassVar[str]
    socket_name: ClassVar[str]
    death_signal: ClassVar[signal.Signals]
    escalation: ClassVar[Escalation]
    not_yet: ClassVar[tuple[type[Exception], ...]]  # what a ping raises before the server answers

    def __init__(self, home: Path, output: int | None = None) -> None:
        """`output` is a file descriptor for the server's log; unset, it goes to `<home>/logs`."""
        self.home = home.absolute()
        self.output = output
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def start(self) -> str:
        """Return the URL of a server that answers. Call it again to restart a crashed one."""
        make_home(self.home)
        if self._lock is None:
            self._lock = take_lock(self.home / f"{self.program}.lock")
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

    def _account(self) -> Account | None:
        return None

    def _sockets(self, preferred: Path) -> Path:
        """`preferred`, or a short private folder where a socket's path would be too long."""
        plain = re.fullmatch(r"[\w./-]+", str(preferred), re.ASCII)
        if plain and fits_socket(preferred / self.socket_name):
            return preferred
        name = f"{self.marker}-{self.program}"
        folders = [Path(tempfile.gettempdir()) / name, Path("/tmp") / name]  # noqa: S108
        return next(folder for folder in folders if fits_socket(folder / self.socket_name))

    def _tidy(self) -> None:
        """Leave nothing outside the data folder."""

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
            except self.not_yet as error:
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


def find_package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            f"{name} is not installed: `pip install 'trainsmith[embedded]'`, or set "
            "TRAINSMITH_DATABASE_URL and TRAINSMITH_REDIS_URL to servers of your own"
        )
    return Path(spec.submodule_search_locations[0])


def _fingerprint(home: Path) -> str:
    status = home.stat()
    words = f"{home.resolve()}:{status.st_dev}:{status.st_ino}"
    return hashlib.sha256(words.encode()).hexdigest()[:12]
