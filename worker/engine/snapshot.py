"""The full state of training, copied off the device into buffers that are used again."""

import random
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from worker.engine.average import Average


@dataclass
class Snapshot:
    """`model` and `state` are tensors on the CPU; `facts` is JSON."""

    model: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    busy: bool = False  # being written

    def capture(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        average: Average | None,
        device: torch.device,
        facts: dict[str, Any],
    ) -> None:
        """Where weights are averaged, `model` is the average."""
        with average.applied() if average else nullcontext():
            raw = average.state_dict() if average else {}
            fill(self.model, model.state_dict())
            fill(self.state, {**read_optimizer(optimizer), **read_rng(device), **raw})
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the copies below run behind our back
        self.facts = {**facts, "python_rng": random.getstate()}

    def restore(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        average: Average | None,
        device: torch.device,
    ) -> None:
        model.load_state_dict(self.model)
        if average:
            average.load_state_dict(self.state)
        restore_optimizer(optimizer, self.state)
        restore_rng(self.state, self.facts["python_rng"], device)


def fill(buffers: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    for name in buffers.keys() - tensors.keys():
        del buffers[name]
    for name, tensor in tensors.items():
        if name not in buffers:
            pinned = tensor.device.type == "cuda"
            buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        buffers[name].copy_(tensor, non_blocking=True)


def read_optimizer(optimizer: Optimizer) -> dict[str, Tensor]:
    """`optimizer.<parameter number>.<name>`; what the spec says of it is not repeated."""
    return {
        f"optimizer.{number}.{name}": value
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            number, _, name = rest.partition(".")
            state.setdefault(int(number), {})[name] = lay_out(tensor, params[int(number)])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def lay_out(tensor: Tensor, param: Tensor) -> Tensor:
    """A copy in the order in memory of the weights: fused steps go through both side by side."""
    like = param if param.shape == tensor.shape else tensor
    return torch.empty_like(like, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def read_rng(device: torch.device) -> dict[str, Tensor]:
    states = {"rng.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_rng(tensors: dict[str, Tensor], python: Any, device: torch.device) -> None:
    version, words, gauss = python
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(tensors["rng.cpu"])
    if device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], device)
