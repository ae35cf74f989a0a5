"""A real HTTP server that answers what a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from client import Trainsmith, http


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "ScriptedServer"

    def do_GET(self) -> None:
        self.server.handle_one(self)

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def open_stream(self, data: str) -> None:
        """Send `data` as an event stream that ends with the connection."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data.encode())
        self.close_connection = True

    def break_off(self, length: int, data: bytes, headers: dict[str, str]) -> None:
        """Promise `length` bytes, send `data`, and hang up."""
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = True

    def hang_up(self) -> None:
        self.close_connection = True


Step = Callable[[Exchange], None]


class ScriptedServer(ThreadingHTTPServer):
    """Request n gets step n of `script`; the last step repeats."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.script: list[Step] = []
        self.seen: list[Seen] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves in the middle of an answer is part of the tests."""

    def handle_one(self, exchange: Exchange) -> None:
        body = exchange.rfile.read(int(exchange.headers.get("Content-Length") or 0))
        if exchange.headers.get("Transfer-Encoding") == "chunked":
            body = read_chunks(exchange)
        step = self.script[min(len(self.seen), len(self.script) - 1)]
        headers = {name.lower(): value for name, value in exchange.headers.items()}
        self.seen.append(Seen(exchange.command, exchange.path, headers, body))
        step(exchange)


def read_chunks(exchange: Exchange) -> bytes:
    body = b""
    while size := int(exchange.rfile.readline(), 16):
        body += exchange.rfile.read(size)
        exchange.rfile.readline()
    exchange.rfile.readline()
    return body


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Trainsmith]:
    with Trainsmith(server.url, "ts_test") as client:
        yield client


@pytest.fixture(autouse=True)
def _fast_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.001)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRAINSMITH_URL", "TRAINSMITH_API_KEY", "TRAINSMITH_HOME"):
        monkeypatch.delenv(name, raising=False)


def answer(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Step:
    return lambda exchange: exchange.answer(status, body, headers)
