"""Sequences of steps, as rows bring them and as a model sees them.

Travels inside every bundle. N rows, S steps of all of them, T steps of the longest row, D numbers
per step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from worker.data.cells import MISSING, CellError, RawColumn
from worker.data.columns import measure


@dataclass(frozen=True)
class Sequences:
    """Row n is `steps[starts[n] : starts[n] + lengths[n]]`; one without a step is missing. Rows may
    share steps, and to take rows copies none."""

    steps: Tensor  # (S, D)
    starts: Tensor  # (N,)
    lengths: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def device(self) -> torch.device:
        return self.steps.device

    @property
    def row_bytes(self) -> int:
        """Of the longest row."""
        longest = int(self.lengths.max()) if len(self) else 0
        return longest * self.steps.shape[1] * self.steps.element_size()

    def to(self, device: torch.device) -> Sequences:
        return Sequences(*(each.to(device) for each in (self.steps, self.starts, self.lengths)))

    def take(self, rows: Tensor) -> Sequences:
        return Sequences(self.steps, self.starts[rows], self.lengths[rows])

    def index_select(self, _dim: int, rows: Tensor) -> Sequences:
        return self.take(rows)

    def find_missing(self) -> list[int]:
        missing: list[int] = (self.lengths == 0).nonzero().squeeze(1).tolist()
        return missing

    def shorten(self, most: int, keep: str) -> Sequences:
        lengths = self.lengths.clamp(max=most)
        starts = self.starts + self.lengths - lengths if keep == "last" else self.starts
        return Sequences(self.steps, starts, lengths)

    def compact(self) -> Sequences:
        """Without the steps that no row has."""
        borders = torch.zeros(len(self.steps) + 1, dtype=torch.long)
        borders.index_add_(0, self.starts, torch.ones_like(self.starts))
        borders.index_add_(0, self.starts + self.lengths, -torch.ones_like(self.starts))
        used = borders.cumsum(0)[:-1] > 0
        places = torch.cat([torch.zeros(1, dtype=torch.long), used.cumsum(0)])
        return Sequences(self.steps[used], places[self.starts], self.lengths)

    def split(self, size: int) -> Iterator[Tensor]:
        """So many rows at a time, filled up to the longest of them: (size, T, D)."""
        for first in range(0, len(self), size):
            last = first + size
            yield Sequences(self.steps, self.starts[first:last], self.lengths[first:last]).pad()

    def pad(self) -> Tensor:
        """(N, T, D), NaN where a row has ended."""
        longest = int(self.lengths.max()) if len(self) else 1
        places = torch.arange(max(1, longest), device=self.device)
        there = places < self.lengths[:, None]  # (N, T)
        # A row that has ended has a last step, whose place is as good as any.
        ends = (self.starts + self.lengths - 1).clamp(min=0)
        rows = self.steps[torch.minimum(self.starts[:, None] + places, ends[:, None])]
        return rows.masked_fill(~there[:, :, None], torch.nan)


@dataclass(frozen=True)
class SequenceInput:
    """The one column of sequences that a model reads: of each number of a step (x - mean) / std. A
    std of 0 stands for a number that was constant in training: it becomes 0, whatever it is."""

    name: str
    max_length: int | None  # steps; None: all
    keep: str  # last or first
    means: tuple[float, ...]  # (D,)
    stds: tuple[float, ...]

    takes = "sequence"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.means),)

    @property
    def example(self) -> Any:
        step = [round(mean, 4) for mean in self.means]
        return [step, step] if len(step) > 1 else [*step, *step]

    def read(self, cells: list[Any]) -> Sequences:
        return join_rows(
            [
                read_steps(cell, self.name, row, len(self.means))
                for row, cell in enumerate(cells, start=1)
            ]
        )

    def scale(self, values: RawColumn) -> Sequences:
        """Float32, without the steps that are left out."""
        assert isinstance(values, Sequences)
        rows = values if self.max_length is None else values.shorten(self.max_length, self.keep)
        rows = rows.compact()
        means, stds = torch.tensor([self.means, self.stds], dtype=torch.float64)
        scaled = torch.where(stds == 0, 0.0, (rows.steps - means) / stds.where(stds != 0, 1.0))
        return replace(rows, steps=scaled.float())

    def encode(self, values: RawColumn) -> Tensor:
        """(N, T, D)"""
        return self.scale(values).pad()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": "sequence",
            "max_length": self.max_length,
            "keep": self.keep,
            "means": list(self.means),
            "stds": list(self.stds),
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> SequenceInput:
        means, stds = tuple(state["means"]), tuple(state["stds"])
        return SequenceInput(state["name"], state["max_length"], state["keep"], means, stds)


def fit_sequence(
    name: str, values: Sequences, max_length: int | None, keep: str, scale: str
) -> SequenceInput:
    """`values` are the training rows; none is missing. Every step counts once."""
    shortened = values if max_length is None else values.shorten(max_length, keep)
    means, stds = [], []
    for numbers in shortened.compact().steps.unbind(1):
        mean, std = measure(numbers)
        if numbers.min() == numbers.max():
            mean, std = numbers[0].item(), 0.0
        elif scale == "none":
            mean, std = 0.0, 1.0
        means.append(mean)
        stds.append(std)
    return SequenceInput(name, max_length, keep, tuple(means), tuple(stds))


# ---------------------------------------------------------------- single rows


def read_steps(cell: Any, column: str, row: int, width: int) -> Tensor:
    """(T, width) of a list of numbers or of steps, as it is or as JSON text."""
    if cell is None or (isinstance(cell, str) and cell.strip() in MISSING):
        raise CellError(column, row, "is missing")
    try:
        steps = torch.as_tensor(json.loads(cell) if isinstance(cell, str) else cell)
    except (ValueError, TypeError, RuntimeError, RecursionError):
        raise CellError(
            column, row, "is no list of numbers, and no list of steps of equally many numbers"
        ) from None
    steps = steps.double()
    steps = steps.unsqueeze(1) if steps.dim() == 1 else steps
    if steps.dim() != 2 or steps.numel() == 0:
        raise CellError(column, row, f"has the shape {tuple(steps.shape)}, not steps x numbers")
    if steps.shape[1] != width:
        raise CellError(column, row, f"has steps of {steps.shape[1]} numbers, not of {width}")
    if not steps.isfinite().all():
        raise CellError(column, row, "holds NaN or infinity")
    return steps


def join_rows(rows: list[Tensor]) -> Sequences:
    """`rows` are (T, D), with a T of their own."""
    lengths = torch.tensor([len(row) for row in rows])
    return Sequences(torch.cat(rows), lengths.cumsum(0) - lengths, lengths)
