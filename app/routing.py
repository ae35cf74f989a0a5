"""What every route of the API does before it runs: strict JSON and strict query strings."""

import json
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NoReturn

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.errors import FieldError, UnsupportedMediaType, ValidationError, field_error

MAX_DEPTH = 64


class StrictRequest(Request):
    async def json(self) -> Any:
        """Any failure is a JSONDecodeError, which is answered with 400 malformed-body."""
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


class StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            if request.headers.get("content-encoding", "identity") != "identity":
                raise UnsupportedMediaType
            return await handle(StrictRequest(request.scope, request.receive))

        return handle_strictly


def make_router(**options: Any) -> APIRouter:
    return APIRouter(route_class=StrictRoute, **options)


def parse_json(body: bytes) -> Any:
    """RFC 8259 and nothing more: UTF-8 without a mark, no NaN, no repeated keys, bounded depth."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise json.JSONDecodeError("not UTF-8", "", error.start) from error
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("starts with a byte-order mark", "", 0)
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", "", 0) from error
    except ValueError as error:  # a number of thousands of digits
        raise json.JSONDecodeError(str(error).partition(";")[0], "", 0) from error


def _refuse(literal: str) -> NoReturn:
    raise json.JSONDecodeError(f"{literal} is not JSON", "", 0)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise json.JSONDecodeError("an object repeats a key", "", 0)
    return result


def refuse_unknown_query(request: Request) -> None:
    """A misspelt filter that is ignored gives a wrong answer in silence, so it is refused."""
    route = request.scope["route"]
    known = dict(_query_fields(route.dependant))
    open_prefixes = (route.openapi_extra or {}).get("x-query-prefixes", [])
    errors: list[FieldError] = []
    for name in dict.fromkeys(request.query_params):
        times = len(request.query_params.getlist(name))
        if name not in known and not name.startswith(tuple(open_prefixes)):
            message = f"unknown parameter; this resource knows {', '.join(known) or 'none'}"
            errors.append(field_error(["query", name], message, "extra_forbidden"))
        elif times > 1 and not known.get(name):
            errors.append(field_error(["query", name], "given more than once", "repeated"))
    if errors:
        raise ValidationError("The query is not valid.", errors)


def _query_fields(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Name of each query parameter, and whether it may be repeated."""
    for field in dependant.query_params:
        yield field.alias, "list[" in str(field.field_info.annotation)
    for child in dependant.dependencies:
        yield from _query_fields(child)
