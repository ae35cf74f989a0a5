"""Following a job's feed live, without holding a connection between looks."""

import logging
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import anyio
from anyio.lowlevel import RunVar
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.auth import is_live
from app.db import transaction
from app.events.listener import Listener
from app.events.service import list_events
from app.events.tables import Event
from app.jobs.tables import TERMINAL, Job

log = logging.getLogger(__name__)
PAGE = 500
KEY_CHECK_SECONDS = 30.0
# Streams look with threads of their own, so that any number of them cannot starve the requests.
_threads: RunVar[anyio.CapacityLimiter] = RunVar("stream_threads")
MAX_THREADS = 4


class Look(NamedTuple):
    events: list[Event]
    ended: bool


async def follow(listener: Listener, job_id: str, key_id: str, after: int) -> AsyncIterator[Event]:
    """Every event after `after`, until the job has ended, the key is dead or the server stops."""
    checked_at = time.monotonic()
    with listener.subscribe(job_id) as subscription:
        while not subscription.closing:
            check_key = time.monotonic() - checked_at >= KEY_CHECK_SECONDS
            if check_key:
                checked_at = time.monotonic()
            seen = await _look_soon(job_id, after, key_id if check_key else None)
            for event in seen.events:
                yield event
                after = event.seq
            if seen.ended:
                return
            if len(seen.events) < PAGE:
                await subscription.wait()


async def _look_soon(job_id: str, after: int, key_id: str | None) -> Look:
    try:
        return await anyio.to_thread.run_sync(look, job_id, after, key_id, limiter=_get_threads())
    except (OperationalError, PoolTimeout) as error:  # a stream outlives an outage of Postgres
        log.warning("a stream is waiting for the database: %s", str(error).partition("\n")[0])
        return Look([], ended=False)


def look(job_id: str, after: int, key_id: str | None) -> Look:
    with transaction() as session:
        if key_id is not None and not is_live(session, key_id):
            return Look([], ended=True)
        # The status is read first: once it is terminal, the events below are the last ones.
        status = session.scalar(select(Job.status).where(Job.id == job_id))
        events = list_events(session, job_id, after, PAGE)
        over = status is None or status in TERMINAL
        return Look(events, ended=over and len(events) < PAGE)


def _get_threads() -> anyio.CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        _threads.set(anyio.CapacityLimiter(MAX_THREADS))
        return _threads.get()
