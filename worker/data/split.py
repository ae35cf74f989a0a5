"""Divides rows into training, validation and test: seeded, exact in number, stratified if asked."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from app.specs.shares import count_share


@dataclass(frozen=True)
class Split:
    """Row numbers, rising."""

    train: Tensor
    validation: Tensor
    test: Tensor


def split_rows(
    rows: int, validation: float, test: float, seed: int, labels: list[str] | None = None
) -> Split:
    """With `labels`, each class gets its share of each part, rounded by largest remainder."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
    groups: dict[str, list[int]] = defaultdict(list)
    for row in order:
        groups[labels[row] if labels else ""].append(row)
    queues = [groups[label] for label in sorted(groups)]
    parts = [
        _take(queues, count_share(rows, validation)),
        _take(queues, count_share(rows, test)),
        list(chain.from_iterable(queues)),
    ]
    held_out, tested, trained = (torch.tensor(sorted(part), dtype=torch.long) for part in parts)
    return Split(trained, held_out, tested)


def _take(queues: list[list[int]], wanted: int) -> list[int]:
    """Take `wanted` rows off the queues."""
    taken = []
    for queue, count in zip(queues, share_out(wanted, list(map(len, queues))), strict=True):
        taken += queue[:count]
        del queue[:count]
    return taken


def share_out(wanted: int, sizes: list[int]) -> list[int]:
    """How many rows to take of each class: none is emptied while another has more to give."""
    wished = apportion(wanted, sizes)
    counts = [min(count, max(0, size - 1)) for count, size in zip(wished, sizes, strict=True)]
    spare = sum(wished) - sum(counts)
    while spare:
        rooms = [size - 1 - count for count, size in zip(counts, sizes, strict=True)]
        roomiest = max(range(len(rooms)), key=rooms.__getitem__)
        if sizes[roomiest] == counts[roomiest]:
            break
        counts[roomiest] += 1
        spare -= 1
    return counts


def apportion(seats: int, sizes: list[int]) -> list[int]:
    """Hamilton's method: whole quotas first, then one each by largest remainder."""
    total = sum(sizes)
    if total == 0:
        return [0 for _ in sizes]
    floors = [seats * size // total for size in sizes]
    by_remainder = sorted(
        range(len(sizes)), key=lambda number: (-(seats * sizes[number] % total), number)
    )
    for number in by_remainder[: seats - sum(floors)]:
        floors[number] += 1
    return floors
