"""The feed of a job, over as many connections as it takes."""

import json
import time
from collections.abc import Iterator

from client.answers import ENDED, Event
from client.errors import ApiError, ConnectionFailed, TrainsmithError
from client.http import Http, backoff_seconds, may_pass, path_of
from client.sse import read_events

SILENCE_SECONDS = 45.0  # the server sends a keep-alive every 15 s
PATIENCE_SECONDS = 300.0  # a server that stays away for longer is given up


class FeedBroken(TrainsmithError):
    """The server left out an event of the feed."""


def follow_events(http: Http, job_id: str, after: int) -> Iterator[Event]:
    """Reconnect where the last connection ended, until the terminal event.

    Raises ConnectionFailed once the server has been away for PATIENCE_SECONDS.
    """
    seen = after
    had_ended = False
    failures = 0
    last_contact = time.monotonic()
    while True:
        try:
            for event in _read_connection(http, job_id, seen):
                seen, failures, last_contact = event["seq"], 0, time.monotonic()
                yield event
                if is_terminal(event):
                    return
            if had_ended:  # the connection was opened after the end and has told all there is
                return
            had_ended = http.get(path_of("jobs", job_id))["status"] in ENDED
        except (ConnectionFailed, ApiError) as error:
            if not may_pass(error) or time.monotonic() - last_contact > PATIENCE_SECONDS:
                raise
        failures += 1
        time.sleep(backoff_seconds(failures))


def is_terminal(event: Event) -> bool:
    return event["type"] == "state" and event["data"].get("status") in ENDED


def _read_connection(http: Http, job_id: str, seen: int) -> Iterator[Event]:
    """Events of one connection, without repeats."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen)}
    path = path_of("jobs", job_id, "stream")
    with http.stream(path, {"after": seen}, headers, SILENCE_SECONDS) as response:
        for message in read_events(response.iter_bytes()):
            event: Event = json.loads(message.data)
            if event["seq"] <= seen:
                continue
            if event["seq"] != seen + 1:
                raise FeedBroken(f"event {seen + 1} of {job_id} is missing")
            seen += 1
            yield event
