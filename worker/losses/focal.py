"""Cross-entropy that counts rows less the better they are told apart already.

Lin et al., "Focal loss for dense object detection", 2017. N rows, C classes, K labels.
"""

from functools import partial

from torch import Tensor
from torch.nn import functional as F

from app.specs.losses import FocalSpec
from worker.losses import Loss, output_per_class, to_index


def build(spec: FocalSpec) -> Loss:
    per_row = partial(compare_classes, gamma=spec.gamma)
    per_label = partial(compare_labels, gamma=spec.gamma)
    return Loss(lambda o, y: per_row(o, y).mean(), output_per_class, to_index, per_row, per_label)


def compare_classes(outputs: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """(N, C), (N,) -> (N,)"""
    return focus(F.cross_entropy(outputs, targets, reduction="none"), gamma)


def compare_labels(outputs: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """(N, K), (N, K) -> (N, K)"""
    return focus(F.binary_cross_entropy_with_logits(outputs, targets, reduction="none"), gamma)


def focus(surprise: Tensor, gamma: float) -> Tensor:
    """`surprise` is -log p of the true class."""
    missing = -(-surprise).expm1()  # 1 - p, without cancellation
    return missing.clamp(min=1e-12) ** gamma * surprise  # at 0 the power has no gradient
