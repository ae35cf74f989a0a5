from torch.optim import RMSprop

from app.specs.optimizers import RMSpropSpec
from worker.optimizers import Params


def build(spec: RMSpropSpec, params: Params) -> RMSprop:
    return RMSprop(
        params,
        lr=spec.lr,
        alpha=spec.alpha,
        eps=spec.eps,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
    )
