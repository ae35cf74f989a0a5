from functools import partial

from torch import Tensor
from torch.nn import functional as F

from app.specs.losses import BinaryCrossEntropySpec
from worker.losses import Loss, one_output, to_column


def build(spec: BinaryCrossEntropySpec) -> Loss:
    if not spec.label_smoothing:
        compute = F.binary_cross_entropy_with_logits
        return Loss(compute, one_output, to_column, partial(per_row, smoothing=0.0))
    every = partial(per_row, smoothing=spec.label_smoothing)
    return Loss(lambda outputs, y: every(outputs, y).mean(), one_output, to_column, every)


def per_row(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """(N, 1), (N, 1) -> (N,)"""
    smooth = targets * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none").squeeze(1)
