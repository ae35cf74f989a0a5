"""Keyset pages. A cursor is opaque, and good only for the filter that it was made with."""

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.errors import ValidationError, field_error

MAX_LIMIT = 200
T = TypeVar("T")
Row = TypeVar("Row")

LimitQuery = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Rows per page.")]
CursorQuery = Annotated[
    str | None, Query(max_length=512, description="`next_cursor` of the page before.")
]


class Page(BaseModel, Generic[T]):
    data: list[T]
    next_cursor: str | None = Field(description="Null on the last page.")


def fetch_page(
    session: Session,
    query: Select[Row],
    key: InstrumentedAttribute[str],
    limit: int,
    cursor: str | None,
    *,
    newest_first: bool = True,
    filters: Any = None,
) -> tuple[Sequence[Row], str | None]:
    """One page of `query` in the order of `key`, a unique id, and the cursor of the next.

    `filters` is whatever JSON-able value shaped the query: a cursor made under another is refused.
    """
    if cursor is not None:
        last = read_cursor(cursor, [newest_first, filters])
        query = query.where(key < last if newest_first else key > last)
    query = query.order_by(key.desc() if newest_first else key).limit(limit + 1)
    rows = session.scalars(query).all()
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, make_cursor(getattr(rows[-1], key.key), [newest_first, filters])


def make_cursor(last: str, filters: Any) -> str:
    payload = json.dumps([last, _digest(filters)], separators=(",", ":"))
    return base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")


def read_cursor(cursor: str, filters: Any) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        last, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        ok = isinstance(last, str) and last.isascii() and last.isprintable()
    except (ValueError, TypeError) as error:
        raise _refusal("cursor is not one that this server made") from error
    if not ok or digest != _digest(filters):
        raise _refusal("cursor belongs to another query; start again without it")
    return str(last)


def _digest(filters: Any) -> str:
    text = json.dumps(filters, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refusal(message: str) -> ValidationError:
    return ValidationError(message, [field_error(["query", "cursor"], message)])
