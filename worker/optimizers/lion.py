"""Lion: the sign of an interpolated momentum. Chen et al., "Symbolic discovery of optimization
algorithms", 2023, algorithm 2. Torch has none."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from app.specs.optimizers import LionSpec
from worker.optimizers import Params


def build(spec: LionSpec, params: Params) -> "Lion":
    return Lion(params, spec)


class Lion(Optimizer):
    def __init__(self, params: Params, spec: LionSpec) -> None:
        self.beta1, self.beta2 = spec.beta1, spec.beta2
        super().__init__(params, {"lr": spec.lr, "weight_decay": spec.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            grads = [param.grad for param in params]
            momenta = [self._find_momentum(param) for param in params]
            directions = torch._foreach_lerp(momenta, grads, 1 - self.beta1)
            torch._foreach_sign_(directions)
            if group["weight_decay"]:
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(params, directions, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, grads, 1 - self.beta2)

    def _find_momentum(self, param: Tensor) -> Tensor:
        state = self.state[param]
        if not state:
            state["momentum"] = torch.zeros_like(param)
        momentum: Tensor = state["momentum"]
        return momentum
