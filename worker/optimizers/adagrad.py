from torch.optim import Adagrad

from app.specs.optimizers import AdagradSpec
from worker.optimizers import Params


def build(spec: AdagradSpec, params: Params) -> Adagrad:
    return Adagrad(
        params,
        lr=spec.lr,
        lr_decay=spec.lr_decay,
        eps=spec.eps,
        weight_decay=spec.weight_decay,
    )
