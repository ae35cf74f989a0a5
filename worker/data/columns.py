"""Columns that stand side by side in a table: numbers and categories.

Travels inside every bundle. N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.data.cells import RawColumn, to_boolean_text, to_number, to_text


@dataclass(frozen=True)
class NumberInput:
    """Missing cells become `fill`; then (x - mean) / std. A std of 0 stands for a column that was
    constant in training: it becomes 0, whatever it holds."""

    name: str
    fill: float
    mean: float
    std: float

    @property
    def width(self) -> int:
        return 1

    @property
    def example(self) -> float:
        return round(self.fill, 4)

    def read(self, cells: list[Any]) -> Tensor:
        numbers = [to_number(cell, self.name, row) for row, cell in enumerate(cells, start=1)]
        return torch.tensor(numbers, dtype=torch.float64)

    def encode(self, values: RawColumn, out: Tensor) -> int:
        """Write into `out` (N, 1); answers how many cells were unknown."""
        assert isinstance(values, Tensor)
        if self.std != 0:
            filled = torch.where(values.isnan(), self.fill, values)
            out[:, 0] = (filled - self.mean) / self.std
        return 0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": "number",
            "fill": self.fill,
            "mean": self.mean,
            "std": self.std,
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> NumberInput:
        return NumberInput(state["name"], state["fill"], state["mean"], state["std"])


@dataclass(frozen=True)
class CategoryInput:
    """One output per category of the training rows; None is the category of missing cells. A cell
    with any other value is unknown: all zeros."""

    name: str
    kind: str  # category or boolean
    categories: tuple[str | None, ...]

    @property
    def width(self) -> int:
        return len(self.categories)

    @property
    def example(self) -> str | None:
        return self.categories[0]

    def read(self, cells: list[Any]) -> list[str | None]:
        read = to_boolean_text if self.kind == "boolean" else to_text
        known = set(self.categories)  # may hold "NA", where that was not a missing cell
        return [cell if isinstance(cell, str) and cell in known else read(cell) for cell in cells]

    def encode(self, values: RawColumn, out: Tensor) -> int:
        """Write into `out` (N, categories); answers how many cells were unknown."""
        assert isinstance(values, list)
        numbers = {category: number for number, category in enumerate(self.categories)}
        codes = torch.tensor([numbers.get(value, -1) for value in values], dtype=torch.long)  # (N,)
        known = (codes >= 0).nonzero().squeeze(1)
        out[known, codes[known]] = 1.0
        return len(codes) - len(known)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "categories": list(self.categories)}

    @staticmethod
    def from_json(state: dict[str, Any]) -> CategoryInput:
        return CategoryInput(state["name"], state["kind"], tuple(state["categories"]))


def fit_number(name: str, values: Tensor, impute: str, scale: str) -> NumberInput:
    """`values` (N,) are the training rows. Any number of them may be missing."""
    present = values[~values.isnan()]
    if len(present) == 0:
        return NumberInput(name, fill=0.0, mean=0.0, std=0.0)
    low, high = present.min().item(), present.max().item()
    mean, std = measure(present)
    if low == high:
        return NumberInput(name, fill=low, mean=low, std=0.0)
    fill = mean if impute == "mean" else find_median(present)
    if scale == "none":
        return NumberInput(name, fill, mean=0.0, std=1.0)
    return NumberInput(name, fill, mean, std)


def find_median(values: Tensor) -> float:
    """Between the two in the middle, where their number is even."""
    ordered = values.sort().values
    return ordered[[(len(values) - 1) // 2, len(values) // 2]].mean().item()


def measure(values: Tensor) -> tuple[float, float]:
    """Mean and standard deviation (of a population), safe from overflow in between."""
    size = values.abs().max().clamp(min=1e-300)
    scaled = values / size
    mean = scaled.mean()
    std = (scaled - mean).square().mean().sqrt()
    return (mean * size).item(), (std * size).item()


def fit_category(name: str, kind: str, values: list[str | None]) -> CategoryInput:
    seen = set(values)
    present = sorted(value for value in seen if value is not None)
    return CategoryInput(name, kind, (*present, None) if None in seen else tuple(present))
