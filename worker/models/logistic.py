"""Logistic regression: logits = x W + b. Shapes: B rows, F encoded inputs, O logits.

One logit for two classes, or one per class; the loss holds the sigmoid or the softmax.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from app.specs.models import LogisticSpec


def build(spec: LogisticSpec, inputs: tuple[int], outputs: int) -> nn.Module:
    (width,) = inputs
    model = nn.Linear(width, outputs, bias=spec.bias)  # (B, F) -> (B, O)
    # The problem is convex: zeros are a start as good as any, and mean that every class is
    # equally likely at first.
    for param in model.parameters():
        nn.init.zeros_(param)
    return model
