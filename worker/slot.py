"""One place to train: a shim and a warm server that stand ready below one Celery process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from worker import shim

PACKET_BYTES = 1 << 16


class SlotBroken(Exception):
    """The warm server of this slot is gone."""


class Slot:
    """Owns the lifeline: when this process dies or closes it, everything below is killed."""

    def __init__(self, ttl_seconds: float, cache: Path) -> None:
        """`cache`: a folder for what libraries want to remember, such as the fonts there are."""
        self._ttl_seconds = ttl_seconds
        self._cache = cache.absolute()
        self._shim: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._broken = True
        self.control: socket.socket | None = None

    def start(self) -> None:
        """Start the shim, and below it the warm server, which needs seconds to import torch."""
        lifeline, self._lifeline = os.pipe()
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "worker.shim"]
        arguments = [str(lifeline), str(control.fileno()), str(self._ttl_seconds)]
        self._shim = subprocess.Popen(
            command + arguments,
            pass_fds=[lifeline, control.fileno()],
            env=os.environ | {"MPLCONFIGDIR": str(self._cache / "matplotlib")},
            start_new_session=True,
        )
        os.close(lifeline)
        control.close()
        self._broken = False

    @property
    def broken(self) -> bool:
        """Also while the shim of a warm server that is gone still clears up below it."""
        return self._broken or self._shim is None or self._shim.poll() is not None

    def _break(self) -> SlotBroken:
        self._broken = True
        return SlotBroken()

    def stop(self) -> None:
        """Kill everything below and wait until it is gone."""
        if self._shim is None:
            return
        os.close(self._lifeline)
        assert self.control is not None
        self.control.close()
        self._shim.wait()
        self._shim, self.control, self._lifeline = None, None, -1

    def restart_if_broken(self) -> None:
        if self.broken:
            self.stop()
            self.start()

    def beat(self) -> None:
        self._write(shim.BEAT)

    def rest(self) -> None:
        self._write(shim.IDLE)

    def _write(self, sign: bytes) -> None:
        try:
            os.write(self._lifeline, sign)
        except BrokenPipeError:
            raise self._break() from None

    def launch(self, request: Path, channel: socket.socket, log: int) -> None:
        """Fork a trainer for `request`; it talks over `channel` and prints to `log`."""
        assert self.control is not None
        packet = json.dumps({"run": str(request)}).encode()
        try:
            socket.send_fds(self.control, [packet], [channel.fileno(), log])
        except (BrokenPipeError, ConnectionResetError):
            raise self._break() from None

    def kill(self) -> None:
        """Kill the running trainer at once."""
        assert self.control is not None
        try:
            self.control.send(json.dumps({"kill": True}).encode())
        except (BrokenPipeError, ConnectionResetError):
            raise self._break() from None

    def receive(self) -> dict[str, Any]:
        """The next answer of the warm server; call it when `control` is readable."""
        assert self.control is not None
        try:
            packet = self.control.recv(PACKET_BYTES)
        except ConnectionResetError:
            packet = b""
        if not packet:
            raise self._break()
        message: dict[str, Any] = json.loads(packet)
        return message
