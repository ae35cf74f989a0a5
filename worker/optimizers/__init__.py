"""Optimizers, one file each: `build(spec, params)` gives torch's, or our own where torch has none.

`params` are parameters, or groups of them whose entries stand above the spec's.
"""

from typing import Any

from torch import nn

Params = list[nn.Parameter] | list[dict[str, Any]]


def list_groups(params: Params) -> list[dict[str, Any]]:
    """The parameters as groups, whichever they are given as."""
    groups = [each for each in params if isinstance(each, dict)]
    return groups or [{"params": list(params)}]


def split_decay(params: list[nn.Parameter]) -> list[dict[str, Any]]:
    """Weight decay for weights; none for biases and the scales of norms."""
    weights = [param for param in params if param.dim() > 1]
    others = [param for param in params if param.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
