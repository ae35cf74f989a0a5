"""Augmentations: random changes of the rows of one step, all at once.

B rows of a step. Images (B, C, H, W), uint8 or float, from 0 to 255; sequences (B, T, D), NaN where
a row has ended; tokens (B, T), 0 where it has; tables (B, F). What came in stays as it was: others
may look at the same memory.

Random numbers are drawn on the CPU, so that every device sees the same choices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Mixed:
    """Targets of rows that were mixed of two: `share` of the loss is towards `targets`, the rest
    towards `others`."""

    targets: Tensor
    others: Tensor
    share: float

    def __len__(self) -> int:
        return len(self.targets)

    def measure(self, compute: Callable[[Tensor, Tensor], Tensor], outputs: Tensor) -> Tensor:
        """Any loss that is a mean over rows, such as all here."""
        ours, theirs = compute(outputs, self.targets), compute(outputs, self.others)
        return self.share * ours + (1 - self.share) * theirs


Targets = Tensor | Mixed
Change = Callable[[Tensor, Generator], Tensor]
Augment = Callable[[Tensor, Targets, Generator], tuple[Tensor, Targets]]


def split_targets(targets: Targets, rows: int) -> Sequence[Targets]:
    if isinstance(targets, Tensor):
        return torch.split(targets, rows)
    pairs = zip(torch.split(targets.targets, rows), torch.split(targets.others, rows), strict=True)
    return [Mixed(ours, theirs, targets.share) for ours, theirs in pairs]


def keep_targets(change: Change) -> Augment:
    """An augmentation that changes inputs alone."""

    def augment(inputs: Tensor, targets: Targets, generator: Generator) -> tuple[Tensor, Targets]:
        return change(inputs, generator), targets

    return augment


def draw_uniform(inputs: Tensor, bound: float, generator: Generator) -> Tensor:
    """(B,), each between -bound and bound."""
    drawn = torch.rand(len(inputs), generator=generator) * (2 * bound) - bound
    return drawn.to(inputs.device)


def cut_windows(images: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """(B, C, *, *) -> (B, C, height, width), of each image a window anywhere."""
    windows = images.unfold(2, height, 1).unfold(3, width, 1)  # a view: (B, C, Y, X, height, width)
    rows = len(images)
    top = torch.randint(windows.shape[2], (rows,), generator=generator).to(images.device)
    left = torch.randint(windows.shape[3], (rows,), generator=generator).to(images.device)
    return windows[torch.arange(rows, device=images.device), :, top, left]
