"""Rows on their way into files: encoded a chunk at a time, mapped once all are there."""

from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worker.data.features import Features
from worker.data.fit_targets import warn_of_strangers
from worker.data.letters import number_rows
from worker.data.mapped import Array, Mapped, MappedTable, MappedTokens, Spool
from worker.data.parts import to_labels
from worker.data.prepare import Part, refuse_overflow, warn_of_unknown
from worker.data.table import Columns
from worker.data.targets import ClassTarget, Target
from worker.data.text import TokensInput
from worker.engine.warnings import Warnings


class TableSpool:
    def __init__(self, folder: Path, features: Features) -> None:
        self.features, self.unknown = features, Counter[str]()
        self._cells = Spool(folder, "f4")

    def add(self, columns: Columns) -> None:
        """Raises DataError for numbers that are too large, OSError when the disk is full."""
        inputs, unknown = self.features.encode(columns)
        refuse_overflow(self.features, inputs)
        self.unknown.update(unknown)
        self._cells.append(inputs.numpy())

    def map(self, aside: Mapped) -> MappedTable:
        (width,) = self.features.shape
        return MappedTable(self._cells.map(), width, aside)


class TokensSpool:
    def __init__(self, folder: Path, tokens: TokensInput) -> None:
        self.tokens, self.unknown = tokens, Counter[str]()
        self._numbers, self._starts = Spool(folder, "i4"), Spool(folder, "i8")
        self._starts.append(np.zeros(1))
        self._total, self._longest = 0, 1

    def add(self, columns: Columns) -> None:
        numbers, lengths = number_rows(self.tokens, columns[self.tokens.name])
        ends = self._total + np.cumsum(lengths)
        self._numbers.append(numbers)
        self._starts.append(ends)
        self._total = int(ends[-1])
        self._longest = max(self._longest, int(lengths.max()))

    def map(self, aside: Mapped) -> MappedTokens:
        return MappedTokens(self._numbers.map(), self._starts.map(), self._longest, aside)


class PartSpool:
    """Takes the rows of one part, then becomes it."""

    def __init__(self, name: str, folder: Path, features: Features) -> None:
        self.name, self.features = name, features
        self._targets = Spool(folder, "i8" if isinstance(features.target, ClassTarget) else "f8")
        self._inputs: TableSpool | TokensSpool
        if isinstance(features.whole, TokensInput):
            self._inputs = TokensSpool(folder, features.whole)
        else:
            self._inputs = TableSpool(folder, features)

    def add(self, columns: Columns) -> None:
        self._inputs.add(columns)
        self._targets.append(encode_target(self.features.target, columns))

    def map(self, warnings: Warnings) -> Part:
        targets, target = self._targets.map(), self.features.target
        part = Part(self._inputs.map(targets), torch.from_numpy(targets.numbers))
        warn_of_unknown(self.name, self._inputs.unknown, len(part), warnings)
        if isinstance(target, ClassTarget):
            warn_of_strangers(target, self.name, part.targets, warnings)
        targets.forget()
        return part


def encode_target(target: Target, columns: Columns) -> Array:
    """(n,) class numbers, or values in their own units."""
    (name,) = target.names
    values = columns[name]
    if isinstance(target, ClassTarget):
        return target.encode(to_labels(values)).numpy()
    assert isinstance(values, Tensor)
    return values.numpy()
