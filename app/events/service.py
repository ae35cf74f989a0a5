"""The feed of a job: one row per event, `seq` without gap or repeat."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Integer, cast, func, insert, select
from sqlalchemy.orm import Session

from app import hints
from app.db import after_commit, transaction
from app.events.tables import Event


class NewEvent(NamedTuple):
    type: str
    data: dict[str, Any]


def append_events(
    session: Session, job_id: str, attempt: int | None, last_seq: int, events: Sequence[NewEvent]
) -> None:
    """Write `events` as the entries that end at `last_seq`.

    The caller has raised `jobs.event_seq` by `len(events)` to `last_seq` in this transaction,
    and so holds the row lock that keeps the numbers free of gaps and repeats.
    """
    if not events:
        return
    first = last_seq - len(events) + 1
    rows = [
        {"job_id": job_id, "seq": seq, "type": event.type, "attempt": attempt, "data": event.data}
        for seq, event in enumerate(events, first)
    ]
    session.execute(insert(Event), rows)
    after_commit(session, partial(hints.hint_events, job_id))


def list_events(
    session: Session, job_id: str, after: int, limit: int, type: str | None = None
) -> list[Event]:
    query = select(Event).where(Event.job_id == job_id, Event.seq > after)
    if type is not None:
        query = query.where(Event.type == type)
    return list(session.scalars(query.order_by(Event.seq).limit(limit)))


def has_new_fold(session: Session, job_id: str, attempt: int) -> bool:
    """Whether an attempt told of a fold that no attempt before it had finished."""
    fold = cast(Event.data["fold"].astext, Integer)
    query = select(
        func.max(fold).filter(Event.attempt == attempt),
        func.coalesce(func.max(fold).filter(Event.attempt < attempt), 0),
    )
    mine, earlier = session.execute(query.where(Event.job_id == job_id, Event.type == "fold")).one()
    return mine is not None and mine > earlier


def iterate_logs(job_id: str, after: int, page: int = 500) -> Iterator[Event]:
    """Every log event after `after`, read in short transactions: a slow client holds none."""
    while True:
        with transaction() as session:
            events = list_events(session, job_id, after, page, type="log")
        yield from events
        if len(events) < page:
            return
        after = events[-1].seq
