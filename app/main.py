"""The API. Run it with `uvicorn app.main:app`."""

import asyncio
import signal
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from app import health, problems
from app.auth import require
from app.checkpoints.routes import downloads
from app.checkpoints.routes import router as checkpoints
from app.datasets.routes import router as datasets
from app.datasets.routes import uploads
from app.events.listener import Listener
from app.events.routes import router as events
from app.explanations.routes import downloads as explanation_files
from app.explanations.routes import router as explanations
from app.jobs.dispatch import Reconciler
from app.jobs.routes import router as jobs
from app.logging import Envelope, setup_logging
from app.metrics.routes import router as metrics
from app.models.routes import router as models
from app.projects.routes import router as projects
from app.retention.routes import router as retention
from app.retention.sweep import Sweeper
from app.routing import refuse_unknown_query

MAX_BODY_BYTES = 2**20  # of JSON; the route for uploads has a limit of its own
SLICES = (
    *(projects, datasets, jobs, metrics, events),
    *(explanations, checkpoints, models, retention),
)
# They move files, check the key themselves and hold no session.
MOVERS = (uploads, downloads, explanation_files)


class Api(FastAPI):
    def build_middleware_stack(self) -> ASGIApp:
        """Put the envelope outside everything, the handler of last resort included."""
        return Envelope(super().build_middleware_stack())

    def openapi(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that a GET shares with its HEAD
            document = super().openapi()
        for operations in document["paths"].values():
            operations.pop("head", None)  # it is its GET without a body, under the same name
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", problems.describe_problem())
        return document


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    setup_logging()
    reconciler, sweeper, listener = Reconciler(), Sweeper(), Listener()
    app.state.listener = listener
    reconciler.start()
    sweeper.start()
    listener.start()
    restore = end_streams_on_stop(listener)
    try:
        yield
    finally:
        restore()
        await listener.stop()
        await asyncio.to_thread(reconciler.stop)
        await asyncio.to_thread(sweeper.stop)


def end_streams_on_stop(listener: Listener) -> Callable[[], None]:
    """A server waits for open responses before its lifespan ends, and a stream never ends by
    itself; so hear of SIGTERM first. Returns what undoes this."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def hear(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(listener.close_streams)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for number in before:
        signal.signal(number, hear)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def name_operation(route: APIRoute) -> str:
    return route.name


def create_app() -> FastAPI:
    app = Api(
        title="Trainsmith",
        description="POST a job, get a trained model.",
        version="0.1.0",
        lifespan=lifespan,
        max_body_size=MAX_BODY_BYTES,
        generate_unique_id_function=name_operation,
        redirect_slashes=False,
    )
    problems.install(app)
    app.include_router(health.router)
    for router in (*SLICES, *MOVERS):
        checks = [Depends(refuse_unknown_query)]
        app.include_router(
            router,
            prefix="/v1",
            dependencies=checks if router in MOVERS else [require("read"), *checks],
            responses=problems.PROBLEM_RESPONSES,
        )
    return app


app = create_app()
