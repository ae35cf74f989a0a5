"""Rotation around the middle of an image, with bilinear interpolation."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from app.specs.augment import RotateSpec
from worker.augment import Augment, draw_uniform, keep_targets


def build(spec: RotateSpec) -> Augment:
    bound = math.radians(spec.degrees)

    def rotate(images: Tensor, generator: Generator) -> Tensor:
        return turn(images, draw_uniform(images, bound, generator))

    return keep_targets(rotate)


def turn(images: Tensor, angles: Tensor) -> Tensor:
    """Counter-clockwise, by `angles` (B,) in radians. Answers floats."""
    height, width = images.shape[2:]
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # Places are counted from -1 to 1 whatever the sides are, hence the quotients.
    across = torch.stack([cos, -sin * (height / width), zero], 1)
    down = torch.stack([sin * (width / height), cos, zero], 1)
    places = F.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), places, align_corners=False).clamp(0, 255)
