"""A convolutional network over images, tokens or steps. B rows, C channels, L places (T tokens or
steps, or height and width), D numbers per step, E numbers per embedded token, O outputs.

A token 0, or a step of NaN, fills up a row that is shorter than others. It counts as zeros to a
convolution and as absent to pooling, so no output depends on how long the longest row is.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from app.specs.models import CNNSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
}


class Block(nn.Module):
    """Convolutions side by side, batch norm, activation, a way around, pooling, dropout."""

    def __init__(self, spec: CNNSpec, channels: int, made: int) -> None:
        super().__init__()
        flat = spec.over == "image"
        convolution = nn.Conv2d if flat else nn.Conv1d
        self.branches = nn.ModuleList(
            convolution(channels, made, kernel, padding="same") for kernel in spec.kernels
        )
        self.channels = made * len(spec.kernels)
        norm = nn.BatchNorm2d if flat else nn.BatchNorm1d
        self.norm = norm(self.channels) if spec.norm == "batch" else nn.Identity()
        self.activation = ACTIVATIONS[spec.activation]()
        self.around: nn.Module | None = None
        if spec.residual:
            same = channels == self.channels
            self.around = nn.Identity() if same else convolution(channels, self.channels, 1)
        self.pool = spec.pool
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, x: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(B, C, *L) -> the same with other channels and, where pooled, half the places."""
        made = [branch(x) for branch in self.branches]
        y = torch.cat(made, 1) if len(made) > 1 else made[0]
        y = self.activation(self.normalise(y, present))
        if self.around is not None:
            y = y + self.around(x)
        if present is not None:
            y = y * present
        if self.pool != "none" and min(y.shape[2:]) > 1:
            y, present = halve(y, present, self.pool)
        return self.dropout(y), present

    def normalise(self, y: Tensor, present: Tensor | None) -> Tensor:
        """Of rows that are filled up, the means are those of the places that are there. One place
        alone has no deviation, and stays as it is in training."""
        if not self.training or isinstance(self.norm, nn.Identity):
            normed: Tensor = self.norm(y)
            return normed
        if present is None:
            return self.norm(y) if y[:, 0].numel() > 1 else y
        there = present[:, 0] > 0  # (B, L)
        places = y.transpose(1, 2)[there]  # (P, C)
        if len(places) > 1:
            places = self.norm(places)
        filled = places.new_zeros(*there.shape, places.shape[1])
        filled[there] = places
        return filled.transpose(1, 2)


def halve(x: Tensor, present: Tensor | None, pool: str) -> tuple[Tensor, Tensor | None]:
    """Join places two by two; of rows that are filled up, only the places that are there."""
    if present is None:
        return (F.max_pool2d(x, 2) if pool == "max" else F.avg_pool2d(x, 2)), None
    halved = F.max_pool1d(present, 2, ceil_mode=True)  # (B, 1, L)
    if x.shape[2] % 2:
        x, present = F.pad(x, (0, 1)), F.pad(present, (0, 1))
    pairs = x.reshape(*x.shape[:2], -1, 2)  # (B, C, L, 2)
    there = present.reshape(len(present), 1, -1, 2)
    if pool == "max":
        joined = pairs.masked_fill(there == 0, -torch.inf).amax(3)
        return joined.masked_fill(halved == 0, 0.0), halved
    return (pairs * there).sum(3) / there.sum(3).clamp(min=1), halved


def embed(tokens: int, width: int) -> nn.Embedding:
    """Small numbers at first: rare words then add little noise. torch's own start has a deviation
    of 1, which training hardly moves."""
    embedding = nn.Embedding(tokens, width, padding_idx=0)
    nn.init.normal_(embedding.weight, std=0.1)
    with torch.no_grad():
        embedding.weight[0] = 0.0
    return embedding


class CNN(nn.Module):
    def __init__(self, spec: CNNSpec, inputs: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.over, self.gather = spec.over, spec.gather
        channels = inputs[0]
        if spec.over == "tokens":
            channels = spec.embedding
            self.embedding = embed(inputs[0], channels)
            self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList()
        places = list(inputs[1:])  # height and width of images; of rows of one length, their steps
        odd = 0 if spec.over == "image" else 1  # a place without another is joined with none
        for made in spec.channels:
            block = Block(spec, channels, made)
            self.blocks.append(block)
            channels = block.channels
            if spec.pool != "none" and min(places, default=1) > 1:
                places = [(place + odd) // 2 for place in places]
        if spec.gather == "flatten":
            channels *= prod(places)
        self.head = nn.Sequential()
        for hidden in spec.hidden:
            self.head.append(nn.Linear(channels, hidden))
            self.head.append(ACTIVATIONS[spec.activation]())
            self.head.append(nn.Dropout(spec.dropout))
            channels = hidden
        self.head.append(nn.Linear(channels, outputs))
        if spec.over == "image":  # measured: a step on CPU takes a third less
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        x, present = self.prepare(inputs)
        for block in self.blocks:
            x, present = block(x, present)
        outputs: Tensor = self.head(self.summarise(x, present))  # (B, C) -> (B, O)
        return outputs

    def prepare(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, C, *L), and which places are there (B, 1, L), if any may not be."""
        if self.over == "image":
            return inputs.float() / 255, None
        if self.over == "tokens":
            x = self.dropout(self.embedding(inputs))  # (B, T, E)
            return x.transpose(1, 2), (inputs != 0).to(x.dtype)[:, None]
        present = (~inputs[:, :, 0].isnan()).to(inputs.dtype)[:, None]
        return inputs.nan_to_num().transpose(1, 2), present

    def summarise(self, x: Tensor, present: Tensor | None) -> Tensor:
        """(B, C): over all places, or every place of its own."""
        if self.gather == "flatten":
            return x.flatten(1)
        x = x.flatten(2)
        if self.gather == "max":
            return (x if present is None else x.masked_fill(present == 0, -torch.inf)).amax(2)
        return x.mean(2) if present is None else x.sum(2) / present.sum(2).clamp(min=1)


def build(spec: CNNSpec, inputs: tuple[int, ...], outputs: int) -> nn.Module:
    return CNN(spec, inputs, outputs)
