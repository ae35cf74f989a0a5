import torch
from torch import Generator, Tensor

from app.specs.augment import FlipSpec
from worker.augment import Augment, keep_targets


def build(spec: FlipSpec) -> Augment:
    side = 3 if spec.direction == "horizontal" else 2

    def flip(images: Tensor, generator: Generator) -> Tensor:
        chosen = torch.rand(len(images), generator=generator) < spec.probability
        return torch.where(chosen.to(images.device)[:, None, None, None], images.flip(side), images)

    return keep_targets(flip)
