"""Which part each row of a large table is in: as `parts`, `split` and `divide` have it, but without
a Python object per row. N rows, C distinct labels."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.specs.shares import count_share
from worker.data.cells import RawColumn
from worker.data.divide import PARTS
from worker.data.parts import to_labels
from worker.data.split import share_out
from worker.engine.errors import DataError

TRAIN, VALIDATION, TEST, DROPPED = range(4)
MISSING = -1
PIECE = 2**20  # rows looked at together

Codes = NDArray[np.int32]
PartOf = NDArray[np.uint8]


class Numbers(dict[str, int]):
    """Numbers labels in the order in which they come."""

    def __missing__(self, label: str) -> int:
        self[label] = number = len(self)
        return number


@dataclass
class Coder:
    """The cells of a column that names classes or groups, as numbers."""

    numbers: Numbers = field(default_factory=Numbers)

    def code(self, values: RawColumn) -> Codes:
        if isinstance(values, Tensor):
            distinct, places = np.unique(values.numpy(), return_inverse=True)
            labels = to_labels(torch.from_numpy(distinct[~np.isnan(distinct)]))
            found = [self.numbers[label] for label in labels]
            return np.array([*found, MISSING], np.int32)[places]  # NaN comes last
        assert isinstance(values, list)
        numbers = self.numbers
        codes = (MISSING if value is None else numbers[value] for value in values)
        return np.fromiter(codes, np.int32, len(values))


def list_labels(codes: Codes, numbers: Numbers) -> list[str]:
    """The labels that occur, sorted. `codes`, of which none may be missing, become places among
    them."""
    sizes = np.bincount(codes, minlength=len(numbers))
    labels = sorted(label for label, number in numbers.items() if sizes[number])
    places = np.zeros(len(numbers), np.int32)
    places[[numbers[label] for label in labels]] = np.arange(len(labels))
    for piece in cut(len(codes)):
        codes[piece] = places[codes[piece]]
    return labels


def cut(rows: int) -> Iterator[slice]:
    return (slice(first, min(first + PIECE, rows)) for first in range(0, rows, PIECE))


def assign_at_random(codes: Codes, validation: float, test: float, seed: int) -> PartOf:
    """`codes` (N,) are places in the sorted classes; all 0 where nothing is stratified."""
    rows, sizes = len(codes), np.bincount(codes)
    held_out = np.array(share_out(count_share(rows, validation), sizes.tolist()))
    tested = np.array(share_out(count_share(rows, test), (sizes - held_out).tolist()))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(rows, generator=generator, dtype=torch.int32).numpy()
    part_of = np.full(rows, TRAIN, np.uint8)
    seen = np.zeros(len(sizes), np.int64)
    for piece in cut(rows):
        numbers = order[piece]
        classes = codes[numbers]
        ranks = rank_within(classes, seen)
        part_of[numbers[ranks < held_out[classes] + tested[classes]]] = TEST
        part_of[numbers[ranks < held_out[classes]]] = VALIDATION
    return part_of


def rank_within(classes: Codes, seen: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many rows of its class come before each row; `seen` are those of earlier pieces."""
    counts = np.bincount(classes, minlength=len(seen))
    by_class = np.argsort(classes, kind="stable")
    firsts = np.repeat(np.cumsum(counts) - counts - seen, counts)
    ranks = np.empty(len(classes), np.int64)
    ranks[by_class] = np.arange(len(classes)) - firsts
    seen += counts
    return ranks


def assign_by_group(codes: Codes, validation: float, test: float, seed: int) -> PartOf:
    """`codes` (N,) are places in the sorted groups."""
    rows, sizes = len(codes), np.bincount(codes)
    generator = torch.Generator().manual_seed(seed)
    waiting = torch.randperm(len(sizes), generator=generator).tolist()
    part_of_group = np.full(len(sizes), TRAIN, np.uint8)
    for part, share in ((VALIDATION, validation), (TEST, test)):
        taken = 0
        while taken < count_share(rows, share) and len(waiting) > 1:
            group = waiting.pop()
            part_of_group[group] = part
            taken += sizes[group]
    return part_of_group[codes]


def assign_by_time(times: NDArray[np.float64], validation: float, test: float) -> PartOf:
    rows = len(times)
    order = np.argsort(times, kind="stable")
    tested, held_out = count_share(rows, test), count_share(rows, validation)
    trained = max(0, rows - held_out - tested)
    part_of = np.full(rows, TRAIN, np.uint8)
    part_of[order[trained : trained + held_out]] = VALIDATION
    part_of[order[trained + held_out :]] = TEST
    return part_of


def assign_by_column(codes: Codes, labels: list[str], column: str) -> PartOf:
    for place, label in enumerate(labels):
        if label not in PARTS:
            row = int(np.flatnonzero(codes == place)[0]) + 1
            raise DataError(
                f"Column {column!r}, row {row}: {label[:40]!r} is none of {', '.join(PARTS)}.",
                hint="Correct the cell, or divide the rows otherwise: dataset.split.by.",
            )
    return np.array([PARTS.index(label) for label in labels], np.uint8)[codes]


def draw_validation(part_of: PartOf, codes: Codes, share: float, seed: int) -> None:
    """A share of the training rows, where the column names none for validation. `codes` as for
    rows at random."""
    if share > 0 and not (part_of == VALIDATION).any():
        trained = part_of == TRAIN
        part_of[trained] = assign_at_random(codes[trained], share, 0.0, seed)
