"""Hides steps of sequences, as SpecAugment does (Park et al., 2019). T steps of the longest row."""

import torch
from torch import Generator, Tensor

from app.specs.augment import MaskSpec
from worker.augment import Augment, keep_targets


def build(spec: MaskSpec) -> Augment:
    choose = choose_run if spec.contiguous else choose_single

    def mask(sequences: Tensor, generator: Generator) -> Tensor:
        there = ~sequences[:, :, 0].isnan()  # (B, T)
        hidden = choose(there.sum(1), sequences.shape[1], spec.share, generator)
        return sequences.masked_fill((hidden & there)[:, :, None], 0.0)

    return keep_targets(mask)


def choose_run(lengths: Tensor, steps: int, share: float, generator: Generator) -> Tensor:
    """(B, T): of each row a run of round(share * length) steps, anywhere within it."""
    count = (lengths * share).round()
    drawn = torch.rand(len(lengths), generator=generator).to(lengths.device)
    first = (drawn * (lengths - count + 1)).floor()
    places = torch.arange(steps, device=lengths.device)
    return (places >= first[:, None]) & (places < (first + count)[:, None])


def choose_single(lengths: Tensor, steps: int, share: float, generator: Generator) -> Tensor:
    """(B, T): each step with the same probability."""
    return (torch.rand(len(lengths), steps, generator=generator) < share).to(lengths.device)
