"""Server-sent events: the wire format (WHATWG HTML, section 9.2)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerEvent:
    id: str | None
    event: str
    data: str


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    r"""Lines end with \r\n, \n or \r alone: str.splitlines would also cut at U+2028 in the data."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        # A \r at the very end may be half of \r\n.
        held = rest.endswith(b"\r")
        body = rest[:-1] if held else rest
        *lines, rest = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest += b"\r" * held
        for line in lines:
            yield line.decode()


def read_events(chunks: Iterable[bytes]) -> Iterator[ServerEvent]:
    """Complete events only: one that the end of the stream cut off is dropped."""
    fields: dict[str, list[str]] = {}
    for line in split_lines(chunks):
        if line == "":
            if "data" in fields:
                yield _build_event(fields)
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name:  # a line that starts with a colon is a comment: the keep-alive
            fields.setdefault(name, []).append(value.removeprefix(" "))


def _build_event(fields: dict[str, list[str]]) -> ServerEvent:
    return ServerEvent(
        id=fields["id"][-1] if "id" in fields else None,
        event=fields.get("event", ["message"])[-1],
        data="\n".join(fields["data"]),
    )
