"""Muon for matrices, AdamW for all other parameters, as its author pairs them (Jordan, 2024).

Updates of matrices are scaled to the size of AdamW's (Liu et al., "Muon is scalable for LLM
training", 2025), so that one learning rate serves both.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any

from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from app.specs.optimizers import MuonSpec
from worker.optimizers import Params, list_groups


def build(spec: MuonSpec, params: Params) -> "Pair":
    matrices = select(params, lambda param: param.dim() == 2)
    others = select(params, lambda param: param.dim() != 2)
    parts: list[Optimizer] = []
    if matrices:
        parts.append(
            Muon(
                matrices,
                lr=spec.lr,
                weight_decay=spec.weight_decay,
                momentum=spec.momentum,
                nesterov=spec.nesterov,
                ns_steps=spec.iterations,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    if others:
        betas = (spec.beta1, spec.beta2)
        parts.append(
            AdamW(others, spec.lr, betas, spec.eps, weight_decay=spec.weight_decay, fused=True)
        )
    return Pair(parts)


def select(params: Params, wanted: Callable[[nn.Parameter], bool]) -> list[dict[str, Any]]:
    groups = [
        {**group, "params": [param for param in group["params"] if wanted(param)]}
        for group in list_groups(params)
    ]
    return [group for group in groups if group["params"]]


class Pair(Optimizer):
    """Optimizers of different parameters that step as one. Parameters are numbered one part after
    the other."""

    def __init__(self, parts: list[Optimizer]) -> None:
        self.parts = parts
        self.defaults: dict[str, Any] = {}
        self.join()

    def join(self) -> None:
        self.param_groups = list(chain.from_iterable(part.param_groups for part in self.parts))

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        first = 0
        for part in self.parts:
            own = part.state_dict()
            state |= {first + number: values for number, values in own["state"].items()}
            groups += [
                {**g, "params": [first + n for n in g["params"]]} for g in own["param_groups"]
            ]
            first += count(part)
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups, first = list(state_dict["param_groups"]), 0
        for part in self.parts:
            size = count(part)
            mine, groups = groups[: len(part.param_groups)], groups[len(part.param_groups) :]
            state = {
                number - first: values
                for number, values in state_dict["state"].items()
                if first <= number < first + size
            }
            numbered = [shift(group, -first) for group in mine]
            part.load_state_dict({"state": state, "param_groups": numbered})
            first += size
        self.join()  # loading makes new groups


def count(optimizer: Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)


def shift(group: dict[str, Any], by: int) -> dict[str, Any]:
    return {**group, "params": [number + by for number in group["params"]]}
