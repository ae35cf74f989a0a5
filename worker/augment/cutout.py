"""Hides a square, which may lie partly outside.

DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
"""

import torch
from torch import Generator, Tensor

from app.specs.augment import CutoutSpec
from worker.augment import Augment, keep_targets


def build(spec: CutoutSpec) -> Augment:
    def hide(rows: int, length: int, generator: Generator) -> Tensor:
        """(rows, length): which places of a side the square covers."""
        first = torch.randint(length, (rows, 1), generator=generator) - spec.size // 2
        places = torch.arange(length)
        return (places >= first) & (places < first + spec.size)

    def cutout(images: Tensor, generator: Generator) -> Tensor:
        rows, _, height, width = images.shape
        down, across = hide(rows, height, generator), hide(rows, width, generator)
        hidden = down[:, None, :, None] & across[:, None, None, :]  # (B, 1, H, W)
        return images.masked_fill(hidden.to(images.device), 0)

    return keep_targets(cutout)
