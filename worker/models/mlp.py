"""A fully connected network. Shapes: B rows, F encoded inputs, H hidden units, O outputs.

The inputs are those of a table (B, F), or pictures (B, channels, height, width).
"""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from app.specs.models import MLPSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}


class Flatten(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        """Bytes to (B, F) shares of full brightness."""
        return pictures.flatten(1).float() / 255


def build(spec: MLPSpec, inputs: tuple[int, ...], outputs: int) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if len(inputs) > 1:
        layers["flatten"] = Flatten()
    width = prod(inputs)
    for number, hidden in enumerate(spec.hidden, start=1):
        layers[f"hidden{number}"] = nn.Linear(width, hidden)  # (B, F) -> (B, H)
        layers[f"activation{number}"] = ACTIVATIONS[spec.activation]()
        if spec.dropout:
            layers[f"dropout{number}"] = nn.Dropout(spec.dropout)
        width = hidden
    layers["output"] = nn.Linear(width, outputs)  # (B, H) -> (B, O)
    return nn.Sequential(layers)
