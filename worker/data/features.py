"""From raw columns to the tensors a model sees, and back from its outputs to answers.

Everything here is fitted on training rows alone and kept as JSON. This file travels inside every
downloaded bundle, so it needs nothing but torch and the standard library.

A model takes one tensor. Of a table: the encoded columns side by side, (N, F), in compressed rows
where one of them holds terms. Else it takes one column alone: tokens (N, T).

A raw column is a float64 tensor with NaN for a missing cell (number), or a list of str with None
for a missing cell (category, boolean). Shapes: N rows, F encoded inputs, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.data.cells import CellError, RawColumn, to_boolean_text, to_number, to_text
from worker.data.text import TermsInput, TokensInput, join_sparse


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
        numbers = {category: number for number, category in enumerate(self.categories)}
        codes = torch.tensor([numbers.get(value, -1) for value in values], dtype=torch.long)  # (N,)
        known = (codes >= 0).nonzero().squeeze(1)
        out[known, codes[known]] = 1.0
        return len(codes) - len(known)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "categories": list(self.categories)}


ColumnInput = NumberInput | CategoryInput | TermsInput  # stands beside others in a table
WholeInput = TokensInput  # all that a model sees
Input = ColumnInput | WholeInput


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
    def whole(self) -> WholeInput | None:
        """The one input that is not a column of a table."""
        only = self.inputs[0]
        return only if isinstance(only, WholeInput) else None

    @property
    def table(self) -> list[ColumnInput]:
        return [column for column in self.inputs if not isinstance(column, WholeInput)]

    @property
    def shape(self) -> tuple[int, ...]:
        """What a model must know of its inputs: the width of a table, or what the input says."""
        if self.whole is not None:
            return self.whole.shape
        return (sum(column.width for column in self.table),)

    @property
    def sparse(self) -> bool:
        return any(isinstance(column, TermsInput) for column in self.inputs)

    def encode(self, columns: dict[str, RawColumn]) -> tuple[Tensor, dict[str, int]]:
        """The tensor for a model, and for each column with unknown categories their number."""
        if self.whole is not None:
            return self.whole.encode(columns[self.whole.name]), {}
        if not self.sparse:
            return encode_dense(
                [each for each in self.table if not isinstance(each, TermsInput)], columns
            )
        parts: list[Tensor] = []
        unknown: dict[str, int] = {}
        for column in self.table:
            if isinstance(column, TermsInput):
                parts.append(column.encode(columns[column.name]))
            else:
                part, strangers = encode_dense([column], columns)
                parts.append(part)
                unknown |= strangers
        return join_sparse(parts), unknown

    def to_json(self) -> dict[str, Any]:
        return {
            "inputs": [column.to_json() for column in self.inputs],
            "target": self.target.to_json(),
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> Features:
        return Features([_read_input(each) for each in state["inputs"]], _read_target(state))


def encode_dense(
    inputs: list[NumberInput | CategoryInput], columns: dict[str, RawColumn]
) -> tuple[Tensor, dict[str, int]]:
    encoded = torch.zeros(len(columns[inputs[0].name]), sum(column.width for column in inputs))
    unknown: dict[str, int] = {}
    start = 0
    for column in inputs:
        part = encoded[:, start : start + column.width]
        if count := column.encode(columns[column.name], part):
            unknown[column.name] = count
        start += column.width
    return encoded, unknown  # (N, F)


def _read_input(state: dict[str, Any]) -> Input:
    if state["kind"] == "number":
        return NumberInput(state["name"], state["fill"], state["mean"], state["std"])
    if state["kind"] in ("bag_of_words", "tf_idf"):
        state = state | {name: tuple(state[name]) for name in ("terms", "weights")}
        return TermsInput(**state)
    if state["kind"] == "tokens":
        merges = tuple((first, second) for first, second in state["merges"])
        vocabulary = tuple(state["vocabulary"])
        rest = {key: state[key] for key in ("name", "tokenizer", "lowercase", "max_length")}
        return TokensInput(**rest, vocabulary=vocabulary, merges=merges)
    return CategoryInput(state["name"], state["kind"], tuple(state["categories"]))


def _read_target(state: dict[str, Any]) -> Target:
    target = state["target"]
    if target["kind"] == "classes":
        return ClassTarget(target["name"], tuple(target["classes"]))
    kind = CountTarget if target["kind"] == "count" else ValueTarget
    return kind(target["name"], target["mean"], target["std"])
