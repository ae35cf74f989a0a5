"""Linear regression: y = x W + b. Shapes: B rows, F encoded inputs, O outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from app.specs.models import LinearSpec


def build(spec: LinearSpec, inputs: tuple[int], outputs: int) -> nn.Module:
    (width,) = inputs
    model = nn.Linear(width, outputs, bias=spec.bias)  # (B, F) -> (B, O)
    # The problem is convex: zeros are a start as good as any, and the first loss says what the
    # mean alone achieves.
    for param in model.parameters():
        nn.init.zeros_(param)
    return model
