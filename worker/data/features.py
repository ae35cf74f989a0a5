"""From raw columns to the tensors a model sees, and back from its outputs to answers.

Everything here is fitted on training rows alone and kept as JSON. This file travels inside every
downloaded bundle, so it needs nothing but torch and the standard library.

A model takes one tensor. Of a table: the encoded columns side by side, (N, F), in compressed rows
where one of them holds terms. Else it takes one column alone: tokens (N, T), pictures (N, C, H, W),
steps (N, T, D).

A raw column is a float64 tensor with NaN for a missing cell (number), a list of str with None for a
missing cell (category, boolean), Images or Sequences. Shapes: N rows, F encoded inputs, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.data.cells import CellError, RawColumn
from worker.data.columns import CategoryInput, NumberInput
from worker.data.image import ImageInput
from worker.data.sequence import SequenceInput
from worker.data.targets import Target, read_target
from worker.data.text import TermsInput, TokensInput, join_sparse
from worker.data.windows import WindowsInput

ColumnInput = NumberInput | CategoryInput | TermsInput  # stands beside others in a table
WholeInput = TokensInput | ImageInput | SequenceInput  # all that a model sees
Input = ColumnInput | WholeInput
INPUTS: dict[str, type[Input]] = {
    "number": NumberInput,
    "category": CategoryInput,
    "boolean": CategoryInput,
    "bag_of_words": TermsInput,
    "tf_idf": TermsInput,
    "tokens": TokensInput,
    "image": ImageInput,
    "sequence": SequenceInput,
    "windows": WindowsInput,
}


def read_rows(rows: list[dict[str, Any]], inputs: list[Input]) -> dict[str, RawColumn]:
    """Rows as they come from a CSV or JSON file -> raw columns. Columns that are no input may be
    there; every input must be."""
    columns: dict[str, RawColumn] = {}
    for spec in inputs:
        if isinstance(spec, WindowsInput):
            columns[spec.name] = spec.read_rows(rows)
            continue
        for number, row in enumerate(rows, start=1):
            if spec.name not in row:
                raise CellError(spec.name, number, "is absent")
        columns[spec.name] = spec.read([row[spec.name] for row in rows])
    return columns


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

    def wrap(self, model: nn.Module) -> nn.Module:
        """What stands between the encoded inputs and the outputs that the target decodes."""
        return self.whole.wrap(model) if isinstance(self.whole, WindowsInput) else model

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
        inputs = [INPUTS[each["kind"]].from_json(each) for each in state["inputs"]]
        return Features(inputs, read_target(state["target"]))


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
