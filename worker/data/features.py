"""From raw columns to the tensors a model sees, and back from its outputs to answers.

Everything here is fitted on training rows alone and kept as JSON. This file travels inside every
downloaded bundle, so it needs nothing but torch and the standard library.

A raw column is a float64 tensor with NaN for a missing cell (number), or a list of str with None
for a missing cell (category, boolean). Shapes: N rows, F encoded inputs, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

RawColumn = Tensor | list[str | None]
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "?"})


class CellError(ValueError):
    """A cell does not hold what its column needs. `row` counts from 1."""

    def __init__(self, column: str, row: int, problem: str) -> None:
        super().__init__(f"column {column!r}, row {row}: {problem}")
        self.column, self.row, self.problem = column, row, problem


# ---------------------------------------------------------------- cells


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


def read_rows(rows: list[dict[str, Any]], inputs: list[Input]) -> dict[str, RawColumn]:
    """Rows as they come from a CSV or JSON file -> raw columns. Columns that are no input may be
    there; every input must be."""
    columns: dict[str, RawColumn] = {}
    for spec in inputs:
        for number, row in enumerate(rows, start=1):
            if spec.name not in row:
                raise CellError(spec.name, number, "is absent")
        columns[spec.name] = spec.read([row[spec.name] for row in rows])
    return columns


# ---------------------------------------------------------------- inputs


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

    def read(self, cells: list[Any]) -> list[str | None]:
        read = to_boolean_text if self.kind == "boolean" else to_text
        known = set(self.categories)  # may hold "NA", where that was not a missing cell
        return [cell if isinstance(cell, str) and cell in known else read(cell) for cell in cells]

    def encode(self, values: RawColumn, out: Tensor) -> int:
        """Write into `out` (N, categories); answers how many cells were unknown."""
        numbers = {category: number for number, category in enumerate(self.categories)}
        codes = torch.tensor([numbers.get(value, -1) for value in values], dtype=torch.long)  # (N,)
        known = (codes >= 0).nonzero().squeeze(1)
        out[known, codes[known]] = 1.0
        return len(codes) - len(known)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "categories": list(self.categories)}


Input = NumberInput | CategoryInput


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


# ---------------------------------------------------------------- targets


@dataclass(frozen=True)
class ClassTarget:
    """Class labels, sorted: as numbers where all are whole numbers, else as text."""

    name: str
    classes: tuple[str, ...]

    def encode(self, labels: list[str]) -> Tensor:
        """(N,) class numbers; a label that training has not seen gets the number C."""
        numbers = {label: number for number, label in enumerate(self.classes)}
        unknown = len(self.classes)
        return torch.tensor([numbers.get(label, unknown) for label in labels], dtype=torch.long)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) or (N, C) logits -> (N, C) probabilities."""
        if outputs.shape[1] > 1:
            return outputs.softmax(1)
        second = outputs.sigmoid()
        return torch.cat([1 - second, second], 1)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "classes", "classes": list(self.classes)}


@dataclass(frozen=True)
class ValueTarget:
    """A number, trained on as (y - mean) / std."""

    name: str
    mean: float
    std: float

    def encode(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std  # (N,)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) standardised -> (N,) in the target's own units."""
        return outputs.squeeze(1).double() * self.std + self.mean

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "value", "mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class CountTarget(ValueTarget):
    """A number that is not negative, trained on as it is; the model predicts its logarithm."""

    def encode(self, values: Tensor) -> Tensor:
        return values  # (N,)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) logarithms -> (N,) expected counts."""
        return outputs.squeeze(1).double().exp()

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "kind": "count"}


Target = ClassTarget | ValueTarget


def fit_classes(name: str, labels: list[str]) -> ClassTarget:
    seen = set(labels)
    whole = all(label.removeprefix("-").isdecimal() for label in seen)
    return ClassTarget(name, tuple(sorted(seen, key=int) if whole else sorted(seen)))


def fit_value(name: str, values: Tensor) -> ValueTarget:
    mean, std = measure(values)
    constant = values.min() == values.max()
    return ValueTarget(name, values[0].item() if constant else mean, 1.0 if constant else std)


# ---------------------------------------------------------------- all of them


@dataclass(frozen=True)
class Features:
    inputs: list[Input]
    target: Target

    @property
    def width(self) -> int:
        return sum(column.width for column in self.inputs)

    def encode(self, columns: dict[str, RawColumn]) -> tuple[Tensor, dict[str, int]]:
        """(N, F) float32, and for each column with unknown categories their number."""
        rows = len(columns[self.inputs[0].name])
        encoded = torch.zeros(rows, self.width)  # (N, F)
        unknown: dict[str, int] = {}
        start = 0
        for column in self.inputs:
            part = encoded[:, start : start + column.width]
            if count := column.encode(columns[column.name], part):
                unknown[column.name] = count
            start += column.width
        return encoded, unknown

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [column.to_json() for column in self.inputs],
            "target": self.target.to_json(),
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> Features:
        return Features([_read_input(each) for each in state["inputs"]], _read_target(state))


def _read_input(state: dict[str, Any]) -> Input:
    if state["kind"] == "number":
        return NumberInput(state["name"], state["fill"], state["mean"], state["std"])
    return CategoryInput(state["name"], state["kind"], tuple(state["categories"]))


def _read_target(state: dict[str, Any]) -> Target:
    target = state["target"]
    if target["kind"] == "classes":
        return ClassTarget(target["name"], tuple(target["classes"]))
    kind = CountTarget if target["kind"] == "count" else ValueTarget
    return kind(target["name"], target["mean"], target["std"])
