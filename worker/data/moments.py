"""Mean, deviation and median of numbers that come in pieces and are not kept."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.data.columns import measure

DIGIT_BITS = 16
SIGN = np.uint64(1 << 63)

Keys = NDArray[np.uint64]


@dataclass
class Moments:
    """Pieces are joined as by Chan, Golub and LeVeque (1979), in the order in which they come, so
    that the same pieces give the same bits. No sum can overflow."""

    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    std: float = 0.0  # of a population

    def add(self, values: Tensor) -> None:
        """(n,) float64, none missing."""
        if not len(values):
            return
        total = self.count + len(values)
        before, now = self.count / total, len(values) / total
        mean, std = measure(values)
        weight = math.sqrt(before * now)
        apart = mean * weight - self.mean * weight
        self.std = math.hypot(self.std * math.sqrt(before), std * math.sqrt(now), apart)
        self.mean = self.mean * before + mean * now
        self.low = min(self.low, values.min().item())
        self.high = max(self.high, values.max().item())
        self.count = total


# ---------------------------------------------------------------- medians


@dataclass
class Rank:
    """The number that `below` others come before, found one digit after the other."""

    below: int
    prefix: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1 << DIGIT_BITS, np.int64))

    def count(self, keys: Keys, shift: int) -> None:
        """Count the next digit of `keys` that have the digits found so far."""
        if shift + DIGIT_BITS < 64:
            keys = keys[keys >> np.uint64(shift + DIGIT_BITS) == np.uint64(self.prefix)]
        digits = (keys >> np.uint64(shift)) & np.uint64((1 << DIGIT_BITS) - 1)
        self.counts += np.bincount(digits.astype(np.int64), minlength=len(self.counts))

    def narrow(self) -> None:
        reached = np.cumsum(self.counts)
        digit = int(np.searchsorted(reached, self.below, side="right"))
        self.below -= int(reached[digit] - self.counts[digit])
        self.prefix = self.prefix << DIGIT_BITS | digit
        self.counts[:] = 0


Pieces = Iterator[dict[str, Tensor]]  # column -> (n,) float64, none missing


def find_medians(counts: dict[str, int], read: Callable[[], Pieces]) -> dict[str, float]:
    """The exact medians of columns of `counts` numbers; between the two in the middle, where their
    number is even. Reads all of them four times."""
    ranks = {
        name: [Rank(below) for below in sorted({(count - 1) // 2, count // 2})]
        for name, count in counts.items()
    }
    for shift in range(64 - DIGIT_BITS, -1, -DIGIT_BITS):
        for piece in read():
            for name, values in piece.items():
                keys = to_keys(values)
                for rank in ranks[name]:
                    rank.count(keys, shift)
        for rank in (rank for pair in ranks.values() for rank in pair):
            rank.narrow()
    return {
        name: float(np.mean([to_number(rank.prefix) for rank in pair]))
        for name, pair in ranks.items()
    }


def to_keys(values: Tensor) -> Keys:
    """Whole numbers in the order of the floats: the sign bit turned, below zero all of them."""
    bits = values.numpy().view(np.uint64)
    return np.where(bits & SIGN, ~bits, bits | SIGN)


def to_number(key: int) -> float:
    bits = np.uint64(key)
    return float((bits ^ SIGN if bits & SIGN else ~bits).view(np.float64))
