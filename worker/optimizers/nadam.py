from torch.optim import NAdam

from app.specs.optimizers import NAdamSpec
from worker.optimizers import Params


def build(spec: NAdamSpec, params: Params) -> NAdam:
    return NAdam(
        params,
        lr=spec.lr,
        betas=(spec.beta1, spec.beta2),
        eps=spec.eps,
        weight_decay=spec.weight_decay,
        momentum_decay=spec.momentum_decay,
        decoupled_weight_decay=True,
    )
