"""Shuffled batches of rows that lie on the device."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from worker.data.rows import HeldRows, measure_row

CHUNK_BYTES = 2**20  # measured: stays in cache until it is used
CHUNK_BATCHES = 64


class Batches:
    """Rows are gathered for many batches at once and handed out as views: one dispatch instead of
    dozens. Chunks start at fixed places of an epoch, so that a resumed run sees the same memory
    layout, and with it the same rounding, as one that was never interrupted.
    """

    def __init__(self, inputs: HeldRows, targets: Tensor, batch_size: int, seed: int) -> None:
        self.inputs, self.targets = inputs, targets  # (N, ...), (N,) or (N, 1)
        self.batch_size, self.seed = batch_size, seed
        batch_bytes = batch_size * (measure_row(inputs) + targets[0].nbytes)
        self.chunk = min(CHUNK_BATCHES, max(1, CHUNK_BYTES // batch_bytes))

    @property
    def per_epoch(self) -> int:
        return -(-len(self.inputs) // self.batch_size)

    def epoch(self, number: int, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, without the first `skip`."""
        order = self.shuffle(number)
        first = skip - skip % self.chunk
        for rows in torch.split(order[first * self.batch_size :], self.chunk * self.batch_size):
            pairs = zip(
                self.inputs.index_select(0, rows).split(self.batch_size),
                torch.split(self.targets.index_select(0, rows), self.batch_size),
                strict=True,
            )
            yield from islice(pairs, skip - first, None)
            first = skip

    def shuffle(self, number: int) -> Tensor:
        """Depends on the seed and the epoch alone, not on the device or on what ran before."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, number))
        return torch.randperm(len(self.inputs), generator=generator).to(self.inputs.device)


def mix_seed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % 2**63
