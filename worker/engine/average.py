"""A moving average of the weights, which is what gets measured and exported (Polyak, 1992)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

PREFIX = "raw."  # of the weights in training, in a checkpoint whose model is the average


class Average:
    """Only parameters are averaged; buffers, such as the statistics of a batch norm, are as they
    are. The decay starts low, so that the weights of the start are soon forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.params = dict(model.named_parameters())
        self.others = {name: param.detach().clone() for name, param in self.params.items()}
        self.averages = list(self.others.values())
        self.raw: list[Tensor] = list(self.params.values())

    def update(self, step: int) -> None:
        """After step number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.raw, 1 - decay)

    def swap(self) -> None:
        """Values change places, not storage: others hold on to that."""
        with torch.no_grad():
            for name, param in self.params.items():
                kept = param.clone()
                param.copy_(self.others[name])
                self.others[name].copy_(kept)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model holds the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Tensor]:
        """While applied: the weights in training."""
        return {PREFIX + name: tensor for name, tensor in self.others.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """After the model was given the average."""
        with torch.no_grad():
            for name, other in self.others.items():
                other.copy_(state[PREFIX + name])
        self.swap()
