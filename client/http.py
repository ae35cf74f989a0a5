"""Requests that survive a restarting server and never do a thing twice."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx2

from client.config import Connection, is_loopback
from client.errors import ApiError, ConnectionFailed, TrainsmithError

Params = Mapping[str, str | int | float | list[str] | None]
MAX_TRIES = 5
BACKOFF_SECONDS = 0.2
BACKOFF_CAP_SECONDS = 5.0
RETRY_AFTER_CAP_SECONDS = 60.0
RETRIED_STATUSES = (429, 502, 503, 504)
TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
UPLOAD_TIMEOUT = httpx2.Timeout(600.0, connect=5.0)  # the answer comes once the file is parsed
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Http:
    """One connection pool. Safe to share between threads."""

    def __init__(self, connection: Connection) -> None:
        self.url = connection.url
        self._client = httpx2.Client(
            base_url=connection.url,
            headers={"Authorization": f"Bearer {connection.api_key}"},
            timeout=TIMEOUT,
            trust_env=not is_loopback(connection.url),  # a proxy cannot reach our own machine
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        return self.request("GET", path, params=params).json()

    def post(self, path: str, *, key: str | None = None, **content: Any) -> Any:
        """`key`: the Idempotency-Key, which makes it safe to send this more than once."""
        if key is not None:
            content |= {"headers": {"Idempotency-Key": key}, "repeatable": True}
        return self.request("POST", path, **content).json()

    def delete(self, path: str) -> None:
        self.request("DELETE", path)

    def look(self, path: str) -> httpx2.Response:
        """One try, whatever the answer. Raises ConnectionFailed."""
        try:
            return self._client.get(path)
        except httpx2.TransportError as error:
            raise self.unreachable(error) from error

    def request(
        self, method: str, path: str, *, repeatable: bool | None = None, **content: Any
    ) -> httpx2.Response:
        """Raises ApiError for a refusal and ConnectionFailed when there was no answer.

        What is not `repeatable` (POST, unless told otherwise) is sent again only if it certainly
        did not arrive.
        """
        repeatable = method != "POST" if repeatable is None else repeatable
        content["params"] = drop_unset(content.get("params"))
        for tries in count(1):
            try:
                response = self._client.request(method, path, **content)
            except httpx2.TransportError as error:
                if tries == MAX_TRIES or not (repeatable or isinstance(error, NOT_SENT)):
                    raise self.unreachable(error) from error
                time.sleep(backoff_seconds(tries))
                continue
            if response.is_success:
                return response
            wait = retry_after_seconds(response, tries) if repeatable else None
            if wait is None or tries == MAX_TRIES:
                raise ApiError.from_response(response)
            time.sleep(wait)
        raise AssertionError("unreachable")

    @contextmanager
    def stream(
        self, path: str, params: Params | None, headers: dict[str, str], read_seconds: float
    ) -> Iterator[httpx2.Response]:
        """One try. Raises ConnectionFailed, also when the line breaks while it is read."""
        timeout = httpx2.Timeout(read_seconds, connect=5.0)
        try:
            with self._client.stream(
                "GET", path, params=drop_unset(params), headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    raise ApiError.from_response(response)
                yield response
        except httpx2.TransportError as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> ConnectionFailed:
        reason = str(error) or type(error).__name__
        hint = " Is it running? `make up` starts one here." if isinstance(error, NOT_SENT) else ""
        return ConnectionFailed(f"no answer from {self.url}: {reason}.{hint}")


def backoff_seconds(tries: int) -> float:
    delay = min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * 2.0 ** (tries - 1))
    return delay * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, guards nothing


def retry_after_seconds(response: httpx2.Response, tries: int) -> float | None:
    """How long to wait before asking again. None: do not ask again."""
    if response.status_code not in RETRIED_STATUSES:
        return None
    try:
        asked = float(response.headers.get("Retry-After", 0))
    except ValueError:  # a date: clocks differ, so back off as without it
        asked = 0.0
    if asked > RETRY_AFTER_CAP_SECONDS:
        return None
    return max(asked, backoff_seconds(tries))


def may_pass(error: ConnectionFailed | ApiError) -> bool:
    """Whether the same request may succeed a little later."""
    return isinstance(error, ConnectionFailed) or error.status in RETRIED_STATUSES


def drop_unset(params: Params | None) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def path_of(*parts: str) -> str:
    """A path below /v1. Ids are quoted, so that no text of a caller becomes another path."""
    for part in parts:
        if part in ("", ".", ".."):
            raise TrainsmithError(f"{part!r} is not an id")
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])
