"""Lists of any length: one request per page, made when the caller gets there."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from client.http import Http, Params

PAGE_SIZE = 100


def read_pages(http: Http, path: str, params: Params, limit: int | None) -> Iterator[Any]:
    size = PAGE_SIZE if limit is None else max(1, min(limit, PAGE_SIZE))
    return islice(_read_all(http, path, {**params, "limit": size}), limit)


def _read_all(http: Http, path: str, params: Params) -> Iterator[Any]:
    cursor = None
    while True:
        page = http.get(path, {**params, "cursor": cursor})
        yield from page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return
