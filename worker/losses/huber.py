from functools import partial

from torch.nn import functional as F

from app.specs.losses import HuberSpec
from worker.losses import Loss, one_output, to_column


def build(spec: HuberSpec) -> Loss:
    return Loss(partial(F.huber_loss, delta=spec.delta), one_output, to_column)
