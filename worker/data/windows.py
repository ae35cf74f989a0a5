"""Windows over a series of rows, from which a model forecasts the rows that follow.

Travels inside every bundle. B windows of T rows, D numbers of a row, H steps ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from worker.data.cells import CellError, to_number
from worker.data.sequence import SequenceInput, Sequences


@dataclass(frozen=True)
class WindowsInput(SequenceInput):
    """Columns of numbers, of which the model sees `window` consecutive rows at a time.

    With `changes` it sees column `place` as distances from its last row, and predicts distances
    from it, in units of `changes`: how far the column usually gets in 1 to H steps.
    """

    columns: tuple[str, ...] = ()
    window: int = 1
    place: int = 0
    changes: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.means), self.window)

    @property
    def example(self) -> Any:
        """Of one row."""
        means = zip(self.columns, self.means, strict=True)
        return {column: round(mean, 4) for column, mean in means}

    def read_rows(self, rows: list[dict[str, Any]]) -> Sequences:
        """Every window of rows that follow each other, the earliest first."""
        if len(rows) < self.window:
            raise ValueError(
                f"a forecast needs {self.window} consecutive rows, and here are {len(rows)}"
            )
        steps = torch.tensor(
            [
                [read_cell(row, column, number) for column in self.columns]
                for number, row in enumerate(rows, start=1)
            ],
            dtype=torch.float64,
        )
        starts = torch.arange(len(rows) - self.window + 1)
        return Sequences(steps, starts, torch.full_like(starts, self.window))

    def wrap(self, model: nn.Module) -> nn.Module:
        if not self.changes:
            return model
        deviation = self.stds[self.place]
        return Distances(model, self.place, [deviation / change for change in self.changes])

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "windows",
            "columns": list(self.columns),
            "window": self.window,
            "means": list(self.means),
            "stds": list(self.stds),
            "place": self.place,
            "changes": list(self.changes),
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> WindowsInput:
        columns, means, stds, changes = (
            tuple(state[key]) for key in ("columns", "means", "stds", "changes")
        )
        return WindowsInput(
            "", None, "last", means, stds, columns, state["window"], state["place"], changes
        )


def read_cell(row: dict[str, Any], column: str, number: int) -> float:
    if column not in row:
        raise CellError(column, number, "is absent")
    value = to_number(row[column], column, number)
    if value != value:  # NaN
        raise CellError(column, number, "is missing, and nothing can stand in for it")
    return value


class Distances(nn.Module):
    """A model between distances: one number of each step becomes its distance from the last step,
    and what the model answers is added to that last one. `factors` (H,) turn a scaled number of
    the window into units of each answer."""

    factors: Tensor

    def __init__(self, model: nn.Module, place: int, factors: list[float]) -> None:
        super().__init__()
        self.model, self.place = model, place
        self.register_buffer("factors", torch.tensor(factors), persistent=False)

    def forward(self, steps: Tensor) -> Tensor:
        """(B, T, D) -> (B, H)"""
        numbers = steps[:, :, self.place]
        last = numbers[:, -1:]  # (B, 1)
        seen = steps.clone()
        seen[:, :, self.place] = (numbers - last) * self.factors[0]
        distances: Tensor = self.model(seen)
        return distances + last * self.factors
