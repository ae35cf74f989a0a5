"""Brightness, contrast and saturation: all of them move away from, or towards, a duller image."""

import torch
from torch import Generator, Tensor

from app.specs.augment import ColourSpec
from worker.augment import Augment, draw_uniform, keep_targets

LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue look: ITU-R BT.601


def build(spec: ColourSpec) -> Augment:
    def colour(images: Tensor, generator: Generator) -> Tensor:
        images = images.float()
        if spec.brightness:
            factors = 1 + draw_uniform(images, spec.brightness, generator)
            images = blend(images, torch.zeros_like(images[:, :1]), factors)
        if spec.contrast:
            factors = 1 + draw_uniform(images, spec.contrast, generator)
            images = blend(images, to_grey(images).mean((2, 3), keepdim=True), factors)
        if spec.saturation:
            factors = 1 + draw_uniform(images, spec.saturation, generator)
            images = blend(images, to_grey(images), factors)
        return images

    return keep_targets(colour)


def blend(images: Tensor, dull: Tensor, factors: Tensor) -> Tensor:
    """0 gives the dull image, 1 the image itself, 2 goes as far beyond it. `factors` (B,)"""
    return (dull + (images - dull) * factors[:, None, None, None]).clamp(0, 255)


def to_grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W)"""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = torch.tensor(LUMA, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True)
