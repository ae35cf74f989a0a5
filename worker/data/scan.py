"""The first look at a large table: its targets and the column that its split looks at.

Holds some bytes per row: 4 for a class or group, 8 for a number or a time, 4 for the shuffle of a
random split, 1 for the part. N rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.specs.data import ColumnKind, SplitSpec
from worker.data.assign import (
    DROPPED,
    MISSING,
    TEST,
    TRAIN,
    Coder,
    Numbers,
    PartOf,
    assign_at_random,
    assign_by_column,
    assign_by_group,
    assign_by_time,
    cut,
    draw_validation,
    list_labels,
)
from worker.data.cells import RawColumn
from worker.data.chunks import count_table_rows, read_chunks
from worker.data.divide import to_seconds
from worker.data.load import choose_dividing_columns, refuse_missing, warn_of_dropped
from worker.data.moments import Moments
from worker.data.parts import choose_test_share, refuse_few_rows, refuse_gaps, refuse_one_class
from worker.data.table import refuse_absent
from worker.engine.reporter import Reporter
from worker.engine.request import Request, Table
from worker.engine.warnings import Warnings

Cells = NDArray[Any]  # (N,) numbers of labels, int32, or float64
Present = NDArray[np.bool_]  # (N,) rows that have a target


@dataclass(frozen=True)
class Scan:
    part_of: PartOf  # (N,)
    classes: list[str]  # of the training rows, if the target names classes
    moments: Moments  # of the target in the training rows, if it is a number


def scan(request: Request, kind: ColumnKind, warnings: Warnings) -> Scan:
    """`kind` is that of the target."""
    (name,), classify = request.spec.dataset.targets, request.task == "classification"
    target, numbers = read_cells(
        request.dataset.path, name, kind, warnings.reporter, coded=classify
    )
    present = find_present(request, target, "dataset", warnings)
    if not present.all():
        target = target[present]
    labels = list_labels(target, numbers) if classify else []
    part_of = assign(request, target if classify else None, present, warnings.reporter)
    refuse_few_rows(len(target), int((part_of == TRAIN).sum()), [name])
    classes, moments = [], Moments()
    if classify:
        classes = [labels[place] for place in np.flatnonzero(count(target, part_of))]
        refuse_one_class(set(classes), name)
    else:
        measure(target, part_of, moments)
    return Scan(spread(part_of, present), classes, moments)


def read_cells(
    path: Path, name: str, kind: ColumnKind, reporter: Reporter, *, coded: bool
) -> tuple[Cells, Numbers]:
    """One column, and the labels that its numbers stand for."""
    coder = Coder()
    cells = np.empty(count_table_rows(path), np.int32 if coded else np.float64)
    for first, columns in read_chunks(path, {name: kind}, 1, reporter):
        values = columns[name]
        found = coder.code(values) if coded else read_numbers(values, name, first)
        cells[first : first + len(found)] = found
    return cells, coder.numbers


def read_numbers(values: RawColumn, column: str, before: int) -> Cells:
    """Times in seconds; a missing cell is NaN."""
    if isinstance(values, Tensor):
        return values.numpy()
    assert isinstance(values, list)
    rows = enumerate(values, start=before + 1)
    return np.array(
        [np.nan if value is None else to_seconds(value, column, row) for row, value in rows]
    )


def find_missing(cells: Cells) -> Present:
    return cells == MISSING if cells.dtype == np.int32 else np.isnan(cells)


def find_present(request: Request, target: Cells, name: str, warnings: Warnings) -> Present:
    missing = find_missing(target)
    if count := int(missing.sum()):
        refuse_missing(request, request.spec.dataset.targets[0], count, int(missing.argmax()), name)
    warn_of_dropped(request, count, len(target), name, warnings)
    return ~missing


def scan_test_table(
    request: Request, table: Table, kinds: dict[str, ColumnKind], warnings: Warnings
) -> PartOf:
    """Every row with a target is tested on."""
    refuse_absent(kinds, [column.name for column in table.columns])
    (name,) = request.spec.dataset.targets
    target, _ = read_cells(
        table.path, name, kinds[name], warnings.reporter, coded=kinds[name] != "number"
    )
    present = find_present(request, target, "test dataset", warnings)
    return np.where(present, np.uint8(TEST), np.uint8(DROPPED))


def assign(request: Request, classes: Cells | None, present: Present, reporter: Reporter) -> PartOf:
    """The part of each row that is present."""
    spec, test = request.spec.dataset.split, choose_test_share(request.spec.dataset)
    shares = spec.validation, test
    if spec.column is None:
        return assign_at_random(choose_strata(spec, classes, present), *shares, spec.seed)
    name, kind = spec.column, choose_dividing_columns(request)[spec.column]
    cells, numbers = read_cells(request.dataset.path, name, kind, reporter, coded=spec.by != "time")
    cells = cells[present]
    refuse_gaps(int(find_missing(cells).sum()), name)
    if spec.by == "time":
        return assign_by_time(cells, *shares)
    labels = list_labels(cells, numbers)
    if spec.by == "group":
        return assign_by_group(cells, *shares, spec.seed)
    part_of = assign_by_column(cells, labels, name)
    strata = choose_strata(spec, classes, present)
    draw_validation(part_of, strata, spec.validation, spec.seed)
    return part_of


def choose_strata(spec: SplitSpec, classes: Cells | None, present: Present) -> Cells:
    """What keeps its shares in rows that are drawn: the classes, or one of all rows."""
    if classes is None or spec.stratify is False:
        return np.zeros(int(present.sum()), np.int32)
    return classes


def spread(part_of: PartOf, present: Present) -> PartOf:
    """From the rows that are present to all of them."""
    everywhere = np.full(len(present), DROPPED, np.uint8)
    everywhere[present] = part_of
    return everywhere


def count(classes: Cells, part_of: PartOf) -> NDArray[np.int64]:
    """Training rows of each class."""
    sizes = np.zeros(int(classes.max()) + 1, np.int64)
    for piece in cut(len(classes)):
        chosen = classes[piece][part_of[piece] == TRAIN]
        sizes += np.bincount(chosen, minlength=len(sizes))
    return sizes


def measure(values: Cells, part_of: PartOf, moments: Moments) -> None:
    for piece in cut(len(values)):
        moments.add(torch.from_numpy(values[piece][part_of[piece] == TRAIN]))
