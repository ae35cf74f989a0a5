"""Shuffled batches of rows that lie in a mapped file, read ahead by one thread.

To take any row next, as `Batches` does, would be a read from disk for each. Here blocks of rows
that lie side by side are shuffled, some of them at a time are read as a group, and the rows of a
group are shuffled. Where blocks begin differs from epoch to epoch. All of it depends on the seed,
the epoch and the group alone, so that a run can go on at any step.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data.batches import mix_seed
from worker.data.mapped import MappedRows

BLOCK_BYTES = 2**18  # read at one place
GROUP_BYTES = 2**25  # read at a time

Shape = Callable[[Tensor], Tensor]
Numbers = NDArray[np.int64]
Group = tuple[Numbers, Tensor]  # rows and their inputs


class BlockBatches:
    """As `Batches`; `shape` makes of the targets, as they are kept, what the loss takes."""

    def __init__(
        self, inputs: MappedRows, targets: Tensor, batch_size: int, seed: int, shape: Shape
    ) -> None:
        self.inputs, self.targets, self.shape = inputs, targets, shape  # (N, ...), (N,)
        self.batch_size, self.seed = batch_size, seed
        self.block = max(1, BLOCK_BYTES // inputs.row_bytes)  # rows
        self.group = max(1, GROUP_BYTES // (batch_size * inputs.row_bytes))  # batches

    @property
    def per_epoch(self) -> int:
        return -(-len(self.inputs) // self.batch_size)

    def epoch(self, number: int, skip: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, without the first `skip`."""
        first = skip - skip % self.group
        for rows, inputs in self.read_ahead(number, first):
            targets = self.targets[torch.from_numpy(rows).to(self.targets.device)]
            pairs = zip(
                torch.split(inputs.to(self.inputs.device), self.batch_size),
                torch.split(self.shape(targets), self.batch_size),
                strict=True,
            )
            yield from islice(pairs, skip - first, None)
            first = skip

    def read_ahead(self, number: int, first: int) -> Iterator[Group]:
        """The groups from batch `first` on. While one is used, the thread reads the next."""
        order = BlockOrder(len(self.inputs), self.block, mix_seed(self.seed, number))
        size = self.group * self.batch_size
        waiting: deque[Future[Group]] = deque()
        with ThreadPoolExecutor(1, "read-ahead") as thread:
            for start in range(first * self.batch_size, len(self.inputs), size):
                waiting.append(thread.submit(self.read, order, start, start + size))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def read(self, order: "BlockOrder", start: int, stop: int) -> Group:
        rows = order.list_rows(start, stop)
        for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
            self.inputs.expect(int(run[0]), int(run[-1]) + 1)
        generator = torch.Generator().manual_seed(mix_seed(order.seed, start + 1))
        places = torch.randperm(len(rows), generator=generator).numpy()
        inputs = self.inputs.take(rows, places)
        shuffled = np.empty_like(rows)
        shuffled[places] = rows
        return shuffled, inputs


class BlockOrder:
    """The rows of an epoch, block after block. They are counted from `shift` on, around the end;
    the last block, which may be short, comes last."""

    def __init__(self, rows: int, block: int, seed: int) -> None:
        self.rows, self.block, self.seed = rows, block, seed
        generator = torch.Generator().manual_seed(seed)
        self.shift = int(torch.randint(rows, (), generator=generator))
        whole = rows // block
        self.blocks = np.append(torch.randperm(whole, generator=generator).numpy(), whole)

    def list_rows(self, start: int, stop: int) -> Numbers:
        places = np.arange(start, min(stop, self.rows))
        rows = self.blocks[places // self.block] * self.block + places % self.block
        return np.asarray((rows + self.shift) % self.rows)
