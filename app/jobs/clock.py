"""Postgres tells the time: only its clock is compared with anything."""

from typing import Any

from sqlalchemy import ColumnElement, func, text


def interval(seconds: float) -> ColumnElement[Any]:
    return text(f"make_interval(secs => {float(seconds)})")  # type: ignore[return-value]


def now() -> ColumnElement[Any]:
    """The time of the statement, not of its transaction's start."""
    return func.clock_timestamp()
