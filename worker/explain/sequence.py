"""Attributions of sequences, per step and channel. T steps of a row, D channels."""

from typing import Any

import torch
from torch import Tensor, nn

from worker.explain.view import Question, Shown, tidy


class SequenceView:
    empty = "as many steps, each of zeros"

    def __init__(self, model: nn.Module, channels: int) -> None:
        self.model, self.rows = model, 0
        self.sizes = torch.zeros(channels, dtype=torch.float64)

    def ask(self, row: Tensor) -> Question:
        steps = cut(row)
        return Question(self.model, steps, torch.zeros_like(steps))

    def show(self, row: Tensor, attributions: Tensor) -> Shown:
        self.rows += 1
        self.sizes += attributions[0].double().abs().sum(0).cpu()
        return Shown({"values": to_lists(cut(row)[0]), "attributions": to_lists(attributions[0])})

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
