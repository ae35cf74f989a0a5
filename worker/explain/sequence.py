"""Attributions of sequences, per step and channel. T steps of a row, D channels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from worker.explain.view import Question, Shown, tidy


class SequenceView:
    empty = "as many steps, each of what is scaled to 0: usually the means of the training rows"

    def __init__(self, model: nn.Module, means: Sequence[float], stds: Sequence[float]) -> None:
        """A step was scaled as (x - mean) / std, each (D,)."""
        self.model, self.rows = model, 0
        self.means, self.stds = (torch.tensor(each, dtype=torch.float64) for each in (means, stds))
        self.sizes = torch.zeros(len(means), dtype=torch.float64)

    def ask(self, row: Tensor) -> Question:
        steps = cut(row)
        return Question(self.model, steps, torch.zeros_like(steps))

    def show(self, row: Tensor, attributions: Tensor) -> Shown:
        self.rows += 1
        self.sizes += attributions[0].double().abs().sum(0).cpu()
        values = cut(row)[0].double().cpu() * self.stds + self.means  # (T, D)
        return Shown({"values": to_lists(values), "attributions": to_lists(attributions[0])})

    def summarise(self) -> dict[str, list[dict[str, Any]]]:
        """The size of attributions per row, summed over its steps."""
        sizes = (self.sizes / max(1, self.rows)).tolist()
        return {
            "channels": [
                {"channel": channel, "mean_absolute": tidy(size)}
                for channel, size in enumerate(sizes)
            ]
        }


def cut(row: Tensor) -> Tensor:
    """(1, T, D) without the NaN that fill it up."""
    length = int((~row[0, :, 0].isnan()).sum())
    return row[:, : max(1, length)]


def to_lists(steps: Tensor) -> list[list[float]]:
    """(T, D)"""
    return [[tidy(number) for number in step] for step in steps.tolist()]
