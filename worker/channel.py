"""JSON lines over a Unix socket: how a supervisor and its training process talk."""

import json
import socket
from typing import Any

CHUNK_BYTES = 1 << 16
Message = dict[str, Any]


def send(sock: socket.socket, message: Message) -> None:
    sock.sendall(json.dumps(message, allow_nan=False).encode() + b"\n")


class LineBuffer:
    """Cuts a byte stream into lines; an unfinished line waits for its rest."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    def take_rest(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest
