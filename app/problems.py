"""Every failure is answered as application/problem+json (RFC 9457), bounded and without echo."""

import json
import logging
from collections.abc import Sequence
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app import errors
from app.errors import AppError, FieldError, field_error
from app.locations import find_location

log = logging.getLogger(__name__)
MAX_ERRORS = 100  # bad rows of a dataset
MAX_FIELDS = 50  # bad fields of a body
MAX_ERRORS_BYTES = 7 * 1024  # so that the answer stays below 8 KiB
MAX_MESSAGE = 400
MAX_PART = 100
MEDIA_TYPE = "application/problem+json"

BY_STATUS: dict[int, type[AppError]] = {
    400: errors.MalformedBody,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.PayloadTooLarge,
    415: errors.UnsupportedMediaType,
    422: errors.ValidationError,
    429: errors.RateLimited,
}


class FieldProblem(BaseModel):
    loc: list[str | int] = Field(description="A path into the body, or `query` and a parameter.")
    message: str
    type: str


class Problem(BaseModel):
    """A failure (RFC 9457). The last part of `type` is stable: branch on that."""

    type: str = Field(examples=["/problems/validation-error"])
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = Field(default=None, description="Only for bad input.")


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, description in {"4XX": "The request cannot be met.", "5XX": "Try later."}.items()
}


def get_request_id(scope: Scope) -> str:
    return str(scope.get("state", {}).get("request_id", ""))


def render(scope: Scope, error: AppError, headers: dict[str, str] | None = None) -> Response:
    body: dict[str, Any] = {
        "type": f"/problems/{error.slug()}",
        "title": error.title(),
        "status": error.status_code,
        "detail": _cut(str(error), MAX_MESSAGE),
        "request_id": get_request_id(scope),
    }
    if error.errors:
        body["errors"] = bound(error.errors)
    content = json.dumps(body, ensure_ascii=False, allow_nan=False)
    return Response(
        content.encode("utf-8", "replace"),
        error.status_code,
        {**error.headers, **(headers or {})},
        MEDIA_TYPE,
    )


def bound(found: Sequence[FieldError]) -> list[FieldError]:
    """As many errors as fit into one small answer."""
    kept: list[FieldError] = []
    size = 0
    for error in found[:MAX_ERRORS]:
        loc = [_cut(part, MAX_PART) if isinstance(part, str) else part for part in error["loc"]]
        short = field_error(loc[:12], _cut(error["message"], MAX_MESSAGE), error["type"])
        size += len(json.dumps(short).encode())
        if size > MAX_ERRORS_BYTES:
            break
        kept.append(short)
    return kept


def _cut(text: str, length: int) -> str:
    safe = "".join(char if char.isprintable() else "\ufffd" for char in text[:length])
    return safe if len(text) <= length else f"{safe[: length - 1]}…"


# ---------------------------------------------------------------- what can go wrong, and the answer


async def answer_app_error(request: Request, error: Exception) -> Response:
    return render(request.scope, cast(AppError, error))


async def answer_invalid(request: Request, error: Exception) -> Response:
    found = cast(RequestValidationError, error)
    problem: AppError
    malformed = next((e for e in found.errors() if e["type"] == "json_invalid"), None)
    if malformed:
        problem = errors.MalformedBody(f"The body is not valid JSON: {malformed['ctx']['error']}.")
    elif isinstance(found.body, bytes):  # FastAPI parses nothing but JSON
        problem = errors.UnsupportedMediaType()
    else:
        problem = errors.ValidationError(errors=describe(found))
    return render(request.scope, problem)


def describe(found: RequestValidationError) -> list[FieldError]:
    """One error per place: the members of a union that were tried become one message."""
    described: dict[tuple[str | int, ...], FieldError] = {}
    for error in found.errors()[: 4 * MAX_FIELDS]:
        loc = find_location(error["loc"], found.body)
        if loc is None:
            continue
        if known := described.get(tuple(loc)):
            known["message"] += f", or {_message(error)}"
        else:
            described[tuple(loc)] = field_error(loc, _message(error), error["type"])
    return list(described.values())[:MAX_FIELDS]


def _message(error: Any) -> str:
    """Pydantic's own words, but never the input in them."""
    match error["type"]:
        case "union_tag_invalid":
            return f"must be one of {error['ctx']['expected_tags']}"
        case "union_tag_not_found":
            return "must be an object with a `type`"
        case "extra_forbidden":
            return "unknown field"
        case "model_attributes_type" | "model_type":
            return "must be an object"
    return str(error["msg"]).removeprefix("Value error, ")


async def answer_http_error(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    kind = BY_STATUS.get(found.status_code, errors.InternalError)
    return render(request.scope, kind(), dict(found.headers or {}))


async def answer_database_error(request: Request, error: Exception) -> Response:
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.warning("the database is not answering: %s", str(cause).partition("\n")[0])
    return render(request.scope, errors.Unavailable())


async def answer_bug(request: Request, error: Exception) -> Response:
    log.error("unhandled exception", exc_info=error)
    return render(request.scope, errors.InternalError())


def install(app: FastAPI) -> None:
    app.add_exception_handler(AppError, answer_app_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http_error)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, answer_database_error)
    app.add_exception_handler(Exception, answer_bug)


def describe_problem() -> dict[str, Any]:
    """Its JSON Schema, self-contained."""
    schema = Problem.model_json_schema()
    parts = schema.pop("$defs")
    schema["properties"]["errors"]["anyOf"][0]["items"] = parts["FieldProblem"]
    return schema
