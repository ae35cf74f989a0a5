import socket

import pytest

from worker import channel
from worker.channel import LineBuffer


def test_lines_come_whole_however_they_are_cut():
    data = b'{"a": 1}\n{"b": 2}\n{"c"'
    for size in (1, 2, 5, 100):
        lines = LineBuffer()
        found = []
        for start in range(0, len(data), size):
            found += lines.feed(data[start : start + size])
        assert found == [b'{"a": 1}', b'{"b": 2}']
        assert lines.take_rest() == b'{"c"'
        assert lines.take_rest() == b""


def test_a_message_with_a_line_break_is_one_line():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel.send(ours, {"text": "two\nlines"})
        assert LineBuffer().feed(theirs.recv(100)) == [b'{"text": "two\\nlines"}']


def test_a_number_that_json_does_not_know_is_refused():
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ValueError, match="JSON"):
        channel.send(ours, {"loss": float("nan")})
