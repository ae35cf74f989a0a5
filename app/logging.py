"""One format for every log line, and one access line per request."""

import logging
import re
import sys
import time
from typing import Any
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import problems
from app.config import get_settings
from app.errors import InternalError, PayloadTooLarge

log = structlog.get_logger("app.access")
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
MAX_PATH = 256


def setup_logging() -> None:
    """Send structlog's and the standard library's records through one formatter to stderr."""
    wanted = get_settings().log_json
    as_json = not sys.stderr.isatty() if wanted is None else wanted
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # Envelope writes that line


class Envelope:
    """The outermost layer: request ids, the access line, and answers nobody below could give."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = choose_request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = Answer(scope, send)
        started = time.monotonic()
        try:
            await self.app(scope, receive, answer.send)
        except Exception:  # not raised again: uvicorn would log it a second time
            if answer.status != 500:  # those are logged where they are answered
                log.exception("the response broke off")
            if answer.status == 0:
                await problems.render(scope, InternalError())(scope, receive, answer.send)
        finally:
            write_access_line(scope, answer.status, time.monotonic() - started)


class Answer:
    """Watches one response go out."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self.status = 0
        self._send = send
        self._replaced = False

    async def send(self, message: Message) -> None:
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            self.status = message["status"]
            if self.status == 413 and problems.MEDIA_TYPE not in headers.get("content-type", ""):
                self._replaced = True
                await self._refuse_size()
                return
            headers["x-request-id"] = problems.get_request_id(self.scope)
            headers.setdefault("cache-control", "no-store")
            headers.setdefault("x-content-type-options", "nosniff")
        await self._send(message)

    async def _refuse_size(self) -> None:
        """The body limit below answers in plain text, whatever handlers there are."""
        response = problems.render(self.scope, PayloadTooLarge())
        response.headers["x-request-id"] = problems.get_request_id(self.scope)
        start = {"type": "http.response.start", "status": 413, "headers": response.raw_headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": bytes(response.body)})


def choose_request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else f"req_{uuid4().hex}"


def write_access_line(scope: Scope, status: int, seconds: float) -> None:
    principal = scope["state"].get("principal")
    path = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    log.info(
        "request",
        method=scope["method"],
        path=path.decode("ascii", "backslashreplace")[:MAX_PATH],
        status=status,
        ms=round(seconds * 1000, 1),
        project=principal.project_id if principal else None,
    )
