from torch import nn
from torch.optim import RMSprop

from app.specs.optimizers import RMSpropSpec


def build(spec: RMSpropSpec, params: list[nn.Parameter]) -> RMSprop:
    return RMSprop(
        params,
        lr=spec.lr,
        alpha=spec.alpha,
        eps=spec.eps,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
    )
