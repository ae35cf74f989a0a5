"""What single cells mean: numbers, texts, missing values. Travels inside every bundle."""

from __future__ import annotations

import math
from typing import Any, Protocol

from torch import Tensor


class Block(Protocol):
    """A raw column of cells that are more than one number or text, such as sequences."""

    def __len__(self) -> int: ...
    def take(self, rows: Tensor) -> Block: ...
    def find_missing(self) -> list[int]:
        """Row numbers from 0, rising."""
        ...


RawColumn = Tensor | list[str | None] | Block
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?"})


class CellError(ValueError):
    """A cell does not hold what its column needs. `row` counts from 1."""

    def __init__(self, column: str, row: int, problem: str) -> None:
        super().__init__(f"column {column!r}, row {row}: {problem}")
        self.column, self.row, self.problem = column, row, problem


def to_text(value: Any) -> str | None:
    """The text that stands for a category: 3 and 3.0 are "3", True is "true"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    text = str(value)
    return None if text in MISSING else text


def to_boolean_text(value: Any) -> str | None:
    text = to_text(value)
    return text if text is None else text.strip().lower()


def to_number(value: Any, column: str, row: int) -> float:
    """A finite number, or NaN for a missing cell."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        text = value.strip()
        if text in MISSING:
            return math.nan
        try:
            value = float(text.replace("_", "?"))  # Python would read 1_000
        except ValueError:
            raise CellError(column, row, f"{text[:40]!r} is not a number") from None
    elif not isinstance(value, (int, float)):
        raise CellError(column, row, "is not a number")
    if math.isinf(value):
        raise CellError(column, row, "is infinite")
    return float(value)
