"""Uploads over a real socket: what a test client cannot do."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from app import storage
from tests.factories import Account

MEGABYTE = 2**20


class Live:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def memory(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


@pytest.fixture
def live(stack: Path) -> Iterator[Live]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--timeout-graceful-shutdown", "1"], stderr=subprocess.DEVNULL, env=os.environ
    )
    try:
        wait_until(lambda: answers(port), "uvicorn answers", 20)
        yield Live(process, port)
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx2.TransportError:
        return False


def wait_until(condition, what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


def head(account: Account, length: int) -> bytes:
    lines = [
        "POST /v1/datasets HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {account.key}",
        "Content-Type: multipart/form-data; boundary=XB",
        f"Content-Length: {length}",
        "",
        "--XB",
        'Content-Disposition: form-data; name="file"; filename="t.csv"',
        "",
        "",
    ]
    return "\r\n".join(lines).encode()


def list_uploads() -> list[Path]:
    return list(storage.get_path("uploads").rglob("*"))


def test_a_client_that_goes_away_leaves_no_file(live: Live, account: Account) -> None:
    with live.connect() as connection:
        connection.sendall(head(account, 10 * MEGABYTE) + b"x" * 5 * MEGABYTE)
        wait_until(list_uploads, "the upload has begun")
    wait_until(lambda: not list_uploads(), "the upload is gone")


def test_a_body_that_is_too_long_is_refused_before_it_ends(live: Live, account: Account) -> None:
    with live.connect() as connection:
        connection.sendall(head(account, 2**40) + b"x" * 1000)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"payload-too-large" in answer


def test_memory_stays_flat_while_a_large_file_arrives(live: Live, account: Account) -> None:
    size = 200 * MEGABYTE
    with live.connect() as connection:
        connection.sendall(head(account, size))
        connection.sendall(b"x" * MEGABYTE)
        wait_until(list_uploads, "the upload has begun")
        before = live.memory()
        for _ in range(150):
            connection.sendall(b"x" * MEGABYTE)
        wait_until(
            lambda: sum(p.stat().st_size for p in list_uploads() if p.is_file()) > 140 * MEGABYTE,
            "the file has arrived",
        )
        assert live.memory() - before < 32 * MEGABYTE
    wait_until(lambda: not list_uploads(), "the upload is gone")


def test_a_server_that_is_killed_takes_its_reader_with_it(live: Live, account: Account) -> None:
    content = b"x,y\n" + b"1.5,2\n" * 10_000_000
    body = head(account, len(content) + 100).partition(b"\r\n\r\n")[2] + content + b"\r\n--XB--\r\n"
    start = head(account, len(body)).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    with live.connect() as connection:
        connection.sendall(start + body)
        wait_until(lambda: readers(live), "the file is being read", 30)
        children = readers(live)
        live.process.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []


def readers(live: Live) -> list[psutil.Process]:
    return psutil.Process(live.process.pid).children(recursive=True)
