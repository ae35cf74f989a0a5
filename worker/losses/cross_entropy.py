from functools import partial

from torch.nn import functional as F

from app.specs.losses import CrossEntropySpec
from worker.losses import Loss, output_per_class, to_index


def build(spec: CrossEntropySpec) -> Loss:
    compute = partial(F.cross_entropy, label_smoothing=spec.label_smoothing)
    return Loss(compute, output_per_class, to_index, partial(compute, reduction="none"))
