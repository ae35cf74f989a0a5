"""How rows of one kind are put to a method of attribution, and how its answer is shown."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass(frozen=True)
class Question:
    """One row as floating-point numbers, beside one of the same shape that says nothing."""

    forward: Callable[[Tensor], Tensor]  # (P, ...) -> (P, O)
    row: Tensor  # (1, ...)
    empty: Tensor  # (1, ...)


@dataclass(frozen=True)
class Shown:
    facts: dict[str, Any]  # strict JSON
    picture: bytes | None = None  # PNG


class View(Protocol):
    """Takes rows one after the other and keeps what a summary of them needs."""

    empty: str  # what the empty row is, in words

    def ask(self, row: Tensor) -> Question:
        """`row` (1, ...) as the model takes it, dense."""

    def show(self, row: Tensor, attributions: Tensor) -> Shown:
        """`attributions` have the shape of the question's row."""

    def summarise(self) -> dict[str, list[dict[str, Any]]]:
        """Over all rows shown so far: a kind of entry -> those entries."""


def tidy(number: float) -> float:
    """What is worth showing of a 32-bit number."""
    return float(f"{number:.6g}")


def rank(sizes: Tensor, count: int) -> list[int]:
    """Places of the largest of `sizes` (N,) that are not 0, the first of equals first."""
    order = sizes.argsort(descending=True, stable=True)[:count]
    return [place for place in order.tolist() if sizes[place] > 0]
