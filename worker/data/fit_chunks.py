"""Fits the inputs of a large table on its training rows, a chunk at a time.

Categories, medians and vocabularies are those that are found in memory. Means and deviations are
joined from those of the chunks, and may differ in their last bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from app.specs.data import ColumnKind, DatasetSpec
from app.specs.text import TokensSpec
from worker.data.assign import TRAIN, PartOf
from worker.data.chunks import read_chunks
from worker.data.columns import NumberInput, fit_category
from worker.data.features import Input
from worker.data.fit_text import fit_vocabulary
from worker.data.moments import Moments, Pieces, find_medians
from worker.data.table import Columns, count_rows, take_rows
from worker.data.text import clean
from worker.engine.reporter import Reporter
from worker.engine.request import Request

Kinds = dict[str, ColumnKind]
MEDIANS_AT_ONCE = 32  # columns: each keeps a megabyte of counts


@dataclass(frozen=True)
class TrainingRows:
    """Of a table on disk; read anew each time."""

    request: Request
    part_of: PartOf
    reporter: Reporter

    def read(self, kinds: Kinds) -> Iterator[Columns]:
        path, threads = self.request.dataset.path, self.request.threads
        for first, columns in read_chunks(path, kinds, threads, self.reporter):
            part_of = self.part_of[first : first + count_rows(columns)]
            yield take_rows(columns, torch.from_numpy(np.flatnonzero(part_of == TRAIN)))

    def read_numbers(self, names: list[str]) -> Pieces:
        for columns in self.read(dict.fromkeys(names, "number")):
            yield {name: drop_missing(values) for name, values in columns.items()}

    def read_texts(self, name: str, lowercase: bool) -> Iterator[str]:
        for columns in self.read({name: "text"}):
            yield from clean(columns[name], lowercase)


def drop_missing(values: object) -> Tensor:
    assert isinstance(values, Tensor)
    return values[~values.isnan()]


@dataclass(frozen=True)
class Texts:
    """The texts of a column, to be gone through any number of times."""

    rows: TrainingRows
    name: str
    lowercase: bool

    def __iter__(self) -> Iterator[str]:
        return self.rows.read_texts(self.name, self.lowercase)


def fit_inputs(request: Request, kinds: Kinds, part_of: PartOf, reporter: Reporter) -> list[Input]:
    """`kinds` are those of the input columns, in their order."""
    rows, data = TrainingRows(request, part_of, reporter), request.spec.dataset
    if isinstance(data.text, TokensSpec):
        (name,) = kinds
        return [fit_vocabulary(name, Texts(rows, name, data.text.lowercase), data.text)]
    moments = {name: Moments() for name, kind in kinds.items() if kind == "number"}
    seen: dict[str, set[str | None]] = {name: set() for name in kinds if name not in moments}
    for columns in rows.read(kinds):
        for name, values in columns.items():
            if isinstance(values, Tensor):
                moments[name].add(drop_missing(values))
            else:
                assert isinstance(values, list)
                seen[name].update(values)
    numbers = {each.name: each for each in fit_numbers(data, moments, rows)}
    return [
        numbers[name] if name in numbers else fit_category(name, kind, list(seen[name]))
        for name, kind in kinds.items()
    ]


def fit_numbers(
    data: DatasetSpec, moments: dict[str, Moments], rows: TrainingRows
) -> list[NumberInput]:
    """As `fit_number` does with all values at hand."""
    fills = {name: found.mean for name, found in moments.items()}
    if data.impute == "median":
        varied = {name: found.count for name, found in moments.items() if found.low < found.high}
        fills |= read_medians(varied, rows)
    return [fit_number(name, found, fills[name], data.scale) for name, found in moments.items()]


def fit_number(name: str, found: Moments, fill: float, scale: str) -> NumberInput:
    if found.count == 0:
        return NumberInput(name, fill=0.0, mean=0.0, std=0.0)
    if found.low == found.high:
        return NumberInput(name, fill=found.low, mean=found.low, std=0.0)
    if scale == "none":
        return NumberInput(name, fill, mean=0.0, std=1.0)
    return NumberInput(name, fill, found.mean, found.std)


def read_medians(counts: dict[str, int], rows: TrainingRows) -> dict[str, float]:
    medians: dict[str, float] = {}
    names = list(counts)
    for start in range(0, len(names), MEDIANS_AT_ONCE):
        some = {name: counts[name] for name in names[start : start + MEDIANS_AT_ONCE]}
        medians |= find_medians(some, partial(rows.read_numbers, list(some)))
    return medians
