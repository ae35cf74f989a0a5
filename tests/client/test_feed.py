import json
from typing import Any

import pytest

from client import ApiError, Trainsmith
from client.sse import read_events, split_lines
from tests.client.conftest import Exchange, ScriptedServer, Step, answer

RUNNING = {"id": "job_1", "status": "running"}
ENDED = {"id": "job_1", "status": "succeeded"}


def frame(seq: int, type: str = "metric", **data: Any) -> str:
    event = {"seq": seq, "type": type, "attempt": 1, "time": "2026-01-01T00:00:00Z", "data": data}
    return f"id: {seq}\nevent: {type}\ndata: {json.dumps(event)}\n\n"


def stream(*frames: str) -> Step:
    return lambda exchange: exchange.open_stream("".join(frames))


END = frame(4, "state", status="succeeded")


def test_a_stream_ends_after_the_terminal_event(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [stream(": keep-alive\n\n", frame(1), frame(2), frame(3), END, frame(5))]
    assert [event["seq"] for event in client.jobs.stream("job_1")] == [1, 2, 3, 4]


def test_a_broken_stream_goes_on_after_the_last_event(
    server: ScriptedServer, client: Trainsmith
) -> None:
    half = frame(3)[:-20]
    server.script = [
        stream(frame(1), frame(2), half),
        answer(200, RUNNING),
        Exchange.hang_up,
        stream(frame(2), frame(3), END),  # a server that repeats one is corrected
    ]
    assert [event["seq"] for event in client.jobs.stream("job_1")] == [1, 2, 3, 4]
    assert server.seen[3].headers["last-event-id"] == "2"


def test_a_restarting_server_is_waited_for(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(503), answer(503), stream(frame(1), frame(2), frame(3), END)]
    assert [event["seq"] for event in client.jobs.stream("job_1")] == [1, 2, 3, 4]


def test_a_job_that_ends_between_two_connections_is_read_to_its_end(
    server: ScriptedServer, client: Trainsmith
) -> None:
    server.script = [stream(frame(1), frame(2), frame(3)), answer(200, ENDED), stream(END)]
    assert [event["seq"] for event in client.jobs.stream("job_1")] == [1, 2, 3, 4]


def test_a_stream_from_the_end_of_an_ended_job_is_empty(
    server: ScriptedServer, client: Trainsmith
) -> None:
    server.script = [stream(), answer(200, ENDED), stream()]
    assert list(client.jobs.stream("job_1", after=4)) == []


def test_a_missing_event_is_an_error(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [stream(frame(1), frame(3))]
    events = client.jobs.stream("job_1")
    assert next(events)["seq"] == 1
    with pytest.raises(Exception, match="event 2 of job_1 is missing"):
        next(events)


def test_a_refused_stream_is_an_api_error(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(404, {"type": "/problems/not-found", "detail": "No such job."})]
    with pytest.raises(ApiError, match="No such job"):
        next(client.jobs.stream("job_1"))


def test_lines_may_be_cut_anywhere() -> None:
    text = "data: a\r\ndata: b\rdata: é\u2028c\n\n".encode()
    expected = ["data: a", "data: b", "data: é\u2028c", ""]
    for cut in range(len(text)):
        assert list(split_lines([text[:cut], text[cut:]])) == expected
    assert list(split_lines([bytes([byte]) for byte in text])) == expected


def test_an_event_may_have_many_lines_and_no_id() -> None:
    (event,) = read_events([b": hello\n\ndata: a\ndata:b\n\ndata: cut off\n"])
    assert (event.id, event.event, event.data) == (None, "message", "a\nb")
