"""Cross-entropy that counts rows less the better they are told apart already.

Lin et al., "Focal loss for dense object detection", 2017. N rows, C classes.
"""

from functools import partial

from torch import Tensor
from torch.nn import functional as F

from app.specs.losses import FocalSpec
from worker.losses import Loss, output_per_class, to_index


def build(spec: FocalSpec) -> Loss:
    per_row = partial(focus, gamma=spec.gamma)
    return Loss(lambda o, y: per_row(o, y).mean(), output_per_class, to_index, per_row)


def focus(outputs: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """(N, C), (N,) -> (N,)"""
    surprise = F.cross_entropy(outputs, targets, reduction="none")  # -log p of the true class
    missing = -(-surprise).expm1()  # 1 - p, without cancellation
    return missing.clamp(min=1e-12) ** gamma * surprise  # at 0 the power has no gradient
