"""Losses: how a model's outputs are held against the targets."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Loss:
    """A loss and the shapes it wants.

    `outputs` gives the width of the model from the number of classes (0: a number is predicted),
    `shape_targets` turns class numbers (N,) or standardised values (N,) into what `compute` takes.
    """

    compute: Callable[[Tensor, Tensor], Tensor]
    outputs: Callable[[int], int]
    shape_targets: Callable[[Tensor], Tensor]


def one_output(_classes: int) -> int:
    return 1


def output_per_class(classes: int) -> int:
    return classes


def to_column(targets: Tensor) -> Tensor:
    return targets.float().unsqueeze(1)  # (N, 1)


def to_index(targets: Tensor) -> Tensor:
    return targets.long()  # (N,)
