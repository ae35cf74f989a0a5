from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.auth import PrincipalDep
from app.deps import SessionDep
from app.events import feed, service
from app.events.schemas import EventOut, EventsOut, LogsOut
from app.jobs.deps import JobDep
from app.routing import make_router

MAX_SEQ = 2**63 - 1
AfterQuery = Annotated[int, Query(ge=0, le=MAX_SEQ, description="Only entries with a larger seq.")]
EventLimitQuery = Annotated[int, Query(ge=1, le=1000, description="Entries per page.")]
LAST_EVENT_ID = Header(
    alias="Last-Event-ID",
    pattern=r"^[0-9]{1,18}$",
    description="The seq of the last entry received. Wins over `after`.",
)

router = make_router(tags=["events"])


async def take_place(request: Request) -> AsyncIterator[None]:
    """Count a stream for as long as it is open; refuse one too many.

    It outlives the session, so it may not depend on `PrincipalDep`, which has run before.
    """
    with request.app.state.listener.admit(request.state.principal.key_id):
        yield


@router.get("/jobs/{job_id}/events", response_model=EventsOut)
def list_events(
    job: JobDep, session: SessionDep, after: AfterQuery = 0, limit: EventLimitQuery = 100
) -> Any:
    """A page of the feed, oldest first. Nothing is ever left out."""
    events = service.list_events(session, job.id, after, limit)
    return {"data": events, "next_after": events[-1].seq if events else after}


@router.get(
    "/jobs/{job_id}/stream",
    response_class=EventSourceResponse,
    dependencies=[Depends(take_place)],
)
async def stream_events(
    request: Request,
    job: JobDep,
    principal: PrincipalDep,
    after: AfterQuery = 0,
    last_event_id: Annotated[str | None, LAST_EVENT_ID] = None,
) -> AsyncIterable[ServerSentEvent]:
    """The feed as server-sent events, from `after` on, until the job has ended.

    The id of each event is its seq: a client that reconnects with `Last-Event-ID` misses nothing.
    """
    start = after if last_event_id is None else int(last_event_id)
    listener = request.app.state.listener
    async for event in feed.follow(listener, job.id, principal.key_id, start):
        shown = EventOut.model_validate(event)
        yield ServerSentEvent(id=str(shown.seq), event=shown.type, data=shown)


@router.get(
    "/jobs/{job_id}/logs",
    response_model=LogsOut,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def read_logs(
    request: Request,
    job: JobDep,
    session: SessionDep,
    after: AfterQuery = 0,
    limit: EventLimitQuery = 1000,
) -> Any:
    """What the training process printed: all of it as text, or a page of it as JSON.

    Text is the default; send `Accept: application/json` for JSON.
    """
    if "application/json" not in request.headers.get("accept", ""):
        return StreamingResponse(_print_logs(job.id, after), media_type="text/plain; charset=utf-8")
    events = service.list_events(session, job.id, after, limit, type="log")
    return {
        "lines": [line for event in events for line in event.data["lines"]],
        "next_after": events[-1].seq if events else after,
    }


def _print_logs(job_id: str, after: int) -> Iterator[str]:
    for event in service.iterate_logs(job_id, after):
        yield "".join(f"{line}\n" for line in event.data["lines"])
