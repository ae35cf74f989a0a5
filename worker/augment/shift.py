"""Padding by zeros, of which each image then shows another part."""

from torch import Generator, Tensor
from torch.nn import functional as F

from app.specs.augment import ShiftSpec
from worker.augment import Augment, cut_windows, keep_targets


def build(spec: ShiftSpec) -> Augment:
    def shift(images: Tensor, generator: Generator) -> Tensor:
        padded = F.pad(images, (spec.pixels,) * 4)
        height, width = images.shape[2:]
        return cut_windows(padded, height, width, generator)

    return keep_targets(shift)
