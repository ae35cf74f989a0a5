"""Convex combinations of two rows and of the losses towards their targets.

Zhang, Cisse, Dauphin and Lopez-Paz, "mixup: beyond empirical risk minimization", 2018. One share
per step, rows paired by a permutation of the step, as in the authors' own code.

Where one of two sequences is longer, its last steps have nothing to be mixed with: they stay.
"""

from random import Random

import torch
from torch import Generator, Tensor

from app.specs.augment import MixupSpec
from worker.augment import Augment, Mixed, Targets


def build(spec: MixupSpec) -> Augment:
    def mixup(inputs: Tensor, targets: Targets, generator: Generator) -> tuple[Tensor, Targets]:
        assert isinstance(targets, Tensor), "the spec allows one mixup"
        share = draw_share(spec.alpha, generator)
        partner = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        return mix(inputs.float(), partner, share), Mixed(targets, targets[partner], share)

    return mixup


def draw_share(alpha: float, generator: Generator) -> float:
    """torch.distributions takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return Random(seed).betavariate(alpha, alpha)  # noqa: S311 - no secret


def mix(inputs: Tensor, partner: Tensor, share: float) -> Tensor:
    others = inputs[partner]
    mixed = share * inputs + (1 - share) * others
    return torch.where(others.isnan(), inputs, mixed)
