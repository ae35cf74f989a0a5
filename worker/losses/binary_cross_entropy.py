from functools import partial

from torch import Tensor
from torch.nn import functional as F

from app.specs.losses import BinaryCrossEntropySpec
from worker.losses import Loss, one_output, to_column


def build(spec: BinaryCrossEntropySpec) -> Loss:
    per_label = partial(compare, smoothing=spec.label_smoothing)

    def per_row(outputs: Tensor, targets: Tensor) -> Tensor:
        return per_label(outputs, targets).squeeze(1)  # (N, 1) -> (N,)

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        if not spec.label_smoothing:
            return F.binary_cross_entropy_with_logits(outputs, targets)
        return per_row(outputs, targets).mean()

    return Loss(compute, one_output, to_column, per_row, per_label)


def compare(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """(N, K), (N, K) -> (N, K)"""
    smooth = targets * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(outputs, smooth, reduction="none")
