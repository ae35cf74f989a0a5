"""Losses: how a model's outputs are held against the targets."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

Compute = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss and the shapes it wants.

    `outputs` gives the width of the model from the number of classes (0: a number is predicted),
    `shape_targets` turns class numbers (N,) or standardised values (N,) into what `compute` takes:
    it gives the mean over the rows, `per_row` the loss of each (N,). Of several targets all is
    (N, K), and the mean goes over them, too; `per_label` gives the loss (N, K) of K logits for
    0 or 1 each. `guess` is a constant that a model without inputs would output for targets (N,) of
    a regression.
    """

    compute: Compute
    outputs: Callable[[int], int]
    shape_targets: Callable[[Tensor], Tensor]
    per_row: Compute | None = None  # of a classification
    per_label: Compute | None = None  # where it can tell several labels, too
    guess: Callable[[Tensor], Tensor] = torch.mean
    guess_name: str = "mean"


def one_output(_classes: int) -> int:
    return 1


def output_per_class(classes: int) -> int:
    return classes


def to_column(targets: Tensor) -> Tensor:
    """(N,) -> (N, 1); (N, K) stays."""
    return targets.float() if targets.ndim == 2 else targets.float().unsqueeze(1)


def to_index(targets: Tensor) -> Tensor:
    return targets.long()  # (N,)


def weigh_classes(loss: Loss, weights: Tensor) -> Loss:
    """The mean over rows of each row's loss times the weight of its class; `weights` (C,)."""
    per_row = loss.per_row
    assert per_row is not None, "only losses of classes can be weighted by class"

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        factors = weights.to(outputs.device)[targets.flatten().long()]
        return (per_row(outputs, targets) * factors).mean()

    return replace(loss, compute=compute)


def compare_labels(loss: Loss, weights: Tensor | None = None) -> Loss:
    """The mean over rows and labels, each times the weight of its class; `weights` (K, 2)."""
    per_label = loss.per_label
    assert per_label is not None, "the loss tells the classes of one target"

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        losses = per_label(outputs, targets)  # (N, K)
        if weights is not None:
            first, second = weights.to(outputs.device).unbind(1)
            losses = losses * torch.where(targets > 0, second, first)
        return losses.mean()

    return replace(loss, compute=compute, shape_targets=to_column)
