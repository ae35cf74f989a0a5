"""The session of a request. It commits before the answer leaves, so 201 means durable."""

from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio.lowlevel import RunVar
from fastapi import Depends
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.db import SessionFactory, get_engine
from app.errors import Unavailable

# Each request passes here before it takes a thread or a connection. There are fewer places than
# connections (20) and than threads (40), so no request holds one while it waits for the other.
MAX_SESSIONS = 16
WAIT_SECONDS = 10
_gate: RunVar[anyio.CapacityLimiter] = RunVar("gate")


def _get_gate() -> anyio.CapacityLimiter:
    """One per event loop."""
    try:
        return _gate.get()
    except LookupError:
        _gate.set(anyio.CapacityLimiter(MAX_SESSIONS))
        return _gate.get()


async def get_session() -> AsyncIterator[Session]:
    place = object()
    try:
        with anyio.fail_after(WAIT_SECONDS):
            await _get_gate().acquire_on_behalf_of(place)
    except TimeoutError as error:
        raise Unavailable("The server is busy. Try again soon.") from error
    session = SessionFactory(bind=get_engine())
    try:
        yield session
        await run_in_threadpool(session.commit)
    finally:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(session.close)  # rolls back what is not committed
        _get_gate().release_on_behalf_of(place)


# scope="function" ends the session when the route returns; FastAPI's default ends it after the
# answer is sent.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]
