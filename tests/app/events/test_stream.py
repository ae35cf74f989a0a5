"""Streams, over a real server: the test client would hold an answer back until it ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, update

from app.db import transaction
from app.errors import RateLimited
from app.events import feed
from app.events.listener import MAX_STREAMS, Listener
from app.events.service import NewEvent
from app.jobs import lifecycle
from app.projects.tables import ApiKey
from tests.factories import Account, claim_job, job_body, make_dataset


def start_server() -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", str(port)]
    process = subprocess.Popen(command)
    address = f"http://127.0.0.1:{port}"
    wait_until_alive(address)
    return process, address


def stop_server(process: subprocess.Popen[bytes]) -> None:
    """uvicorn ends tidily and then by the signal that it was sent."""
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)
    finally:
        process.kill()


@pytest.fixture(scope="module")
def api(stack: Path) -> Iterator[str]:
    """The address of a server that runs until the tests of this file are over."""
    process, address = start_server()
    yield address
    stop_server(process)


def wait_until_alive(address: str) -> None:
    for _ in range(300):
        try:
            httpx2.get(f"{address}/livez")
            return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("uvicorn did not start")


@pytest.fixture
def job_id(api: str, account: Account) -> str:
    body = job_body(make_dataset(account.project_id))
    answer = httpx2.post(f"{api}/v1/jobs", json=body, headers=account.headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def stream(
    api: str, job_id: str, account: Account, headers: dict[str, str] | None = None, query: str = ""
) -> Iterator[dict[str, Any]]:
    """The events, as they arrive. Each carries its seq as the id of the message."""
    url = f"{api}/v1/jobs/{job_id}/stream{query}"
    headers = account.headers | (headers or {})
    with httpx2.stream("GET", url, headers=headers, timeout=20) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        message: dict[str, str] = {}
        for line in answer.iter_lines():
            if not line and message:
                event = json.loads(message["data"])
                assert message["id"] == str(event["seq"])
                assert message["event"] == event["type"]
                yield event
                message = {}
            elif line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                message[name] = value


def finish() -> None:
    lease = claim_job()
    with transaction() as session:
        lifecycle.record(session, lease, [NewEvent("log", {"lines": ["hello"]})])
    with transaction() as session:
        lifecycle.succeed(session, lease, {})


def test_a_stream_tells_everything_live_and_ends_with_the_job(
    api: str, account: Account, job_id: str
) -> None:
    events = stream(api, job_id, account)
    assert next(events)["data"]["status"] == "queued"
    began = time.monotonic()
    finish()
    rest = list(events)
    assert [event["seq"] for event in rest] == [2, 3, 4]
    assert rest[-1]["data"]["status"] == "succeeded"
    assert time.monotonic() - began < 5


def test_a_hint_is_faster_than_the_poll(api: str, account: Account, job_id: str) -> None:
    events = stream(api, job_id, account)
    next(events)
    time.sleep(0.2)
    waits = []
    lease = claim_job()
    next(events)
    for number in range(5):
        began = time.monotonic()
        with transaction() as session:
            lifecycle.record(session, lease, [NewEvent("log", {"lines": [str(number)]})])
        assert next(events)["data"]["lines"] == [str(number)]
        waits.append(time.monotonic() - began)
    assert sorted(waits)[2] < 0.5
    events.close()


@pytest.mark.parametrize(("headers", "query"), [({"Last-Event-ID": "2"}, ""), ({}, "?after=2")])
def test_a_stream_goes_on_where_it_was_left(
    api: str, account: Account, job_id: str, headers: dict[str, str], query: str
) -> None:
    finish()
    events = list(stream(api, job_id, account, headers, query))
    assert [event["seq"] for event in events] == [3, 4]


def test_a_position_beyond_the_end_of_an_ended_job_ends_at_once(
    api: str, account: Account, job_id: str
) -> None:
    finish()
    assert list(stream(api, job_id, account, {"Last-Event-ID": "999999999"})) == []


@pytest.mark.parametrize("position", ["abc", "1 2", "-1", "9" * 30])
def test_a_bad_position_is_refused(api: str, account: Account, job_id: str, position: str) -> None:
    headers = account.headers | {"Last-Event-ID": position}
    answer = httpx2.get(f"{api}/v1/jobs/{job_id}/stream", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/validation-error"


def test_a_stream_of_a_foreign_job_is_not_found(api: str, account: Account) -> None:
    path = f"{api}/v1/jobs/job_{'0' * 32}/stream"
    answer = httpx2.get(path, headers=account.headers)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_key_has_only_so_many_streams() -> None:
    listener = Listener()
    with ExitStack() as streams:
        for _ in range(MAX_STREAMS):
            streams.enter_context(listener.admit("one"))
        with pytest.raises(RateLimited), listener.admit("one"):
            pass
        with listener.admit("another"):
            pass
    with listener.admit("one"):
        pass


def test_streams_that_are_dropped_free_their_places(
    api: str, account: Account, job_id: str
) -> None:
    for _ in range(MAX_STREAMS + 10):
        events = stream(api, job_id, account)
        assert next(events)["seq"] == 1
        events.close()


def test_a_dead_key_ends_a_stream(account: Account, api: str, job_id: str) -> None:
    assert feed.look(job_id, 0, account.key_id).ended is False
    with transaction() as session:
        session.execute(update(ApiKey).values(revoked_at=func.now()))
    assert feed.look(job_id, 0, account.key_id) == feed.Look([], ended=True)


def test_an_open_stream_does_not_keep_the_server_from_stopping(
    stack: Path, account: Account
) -> None:
    process, address = start_server()
    body = job_body(make_dataset(account.project_id))
    job = httpx2.post(f"{address}/v1/jobs", json=body, headers=account.headers).json()
    events = stream(address, job["id"], account)
    next(events)
    began = time.monotonic()
    stop_server(process)
    assert list(events) == []
    assert time.monotonic() - began < 5
