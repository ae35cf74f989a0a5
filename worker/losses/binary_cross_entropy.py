from torch.nn import functional as F

from app.specs.losses import BinaryCrossEntropySpec
from worker.losses import Loss, one_output, to_column


def build(_spec: BinaryCrossEntropySpec) -> Loss:
    return Loss(F.binary_cross_entropy_with_logits, one_output, to_column)
