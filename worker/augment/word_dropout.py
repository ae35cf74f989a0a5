"""Tokens that become unknown, so that no single one is relied on (Iyyer et al., 2015)."""

import torch
from torch import Generator, Tensor

from app.specs.augment import WordDropoutSpec
from worker.augment import Augment, keep_targets
from worker.data.text import PADDING, UNKNOWN


def build(spec: WordDropoutSpec) -> Augment:
    def drop(tokens: Tensor, generator: Generator) -> Tensor:
        drawn = torch.rand(tokens.shape, generator=generator).to(tokens.device)
        there, dropped = tokens != PADDING, drawn < spec.probability
        left = (there & ~dropped).any(1, keepdim=True)  # a row that says nothing teaches nothing
        return tokens.masked_fill(there & dropped & left, UNKNOWN)

    return keep_targets(drop)
