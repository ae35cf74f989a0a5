"""Reads the columns a job asks for, without the rows that have no target."""

from dataclasses import dataclass

import torch

from app.specs.data import ColumnKind
from worker.data.image import Images
from worker.data.table import (
    BLOCKS,
    Columns,
    count_rows,
    find_missing,
    list_names,
    read_columns,
    refuse_absent,
    take_rows,
)
from worker.engine.errors import DataError
from worker.engine.request import Request
from worker.engine.warnings import Warnings


@dataclass(frozen=True)
class Loaded:
    """Raw columns: those in `kinds`, the inputs first and the targets last, and those that the
    split and the folds look at."""

    kinds: dict[str, ColumnKind]
    columns: Columns
    test_columns: Columns | None  # of the test dataset, if there is one


def load(request: Request, warnings: Warnings) -> Loaded:
    kinds = choose_columns(request)
    columns = load_table(request, kinds | choose_dividing_columns(request), warnings)
    tested = load_test_table(request, kinds, warnings) if request.test_dataset else None
    return Loaded(kinds, columns, tested)


def choose_columns(request: Request) -> dict[str, ColumnKind]:
    """The inputs and, last, the targets, each with the kind it is read as."""
    data = request.spec.dataset
    kinds = {column.name: column.kind for column in request.dataset.columns}
    aside = (*data.targets, *request.spec.dividing_columns)
    inputs = data.inputs or [name for name in kinds if name not in aside]
    refuse_absent([*inputs, *data.targets], list(kinds))
    text = (data.text.columns or []) if data.text else []
    kinds |= {name: "text" for name in text if name in inputs}
    for name in inputs:
        refuse_unreadable(
            request, name, kinds[name], read_as_text=name in text, alone=len(inputs) == 1
        )
    for name in data.targets:
        if kinds[name] in BLOCKS:
            raise DataError(
                f"The target {name!r} holds {kinds[name]}, which no model here predicts.",
                hint="Choose another target.",
            )
        if request.task == "regression" and kinds[name] != "number":
            raise DataError(
                f"The target {name!r} does not hold numbers, so it cannot be a regression.",
                hint="Choose a classification model, such as logistic, or another target.",
            )
    return {name: kinds[name] for name in (*inputs, *data.targets)}


def refuse_unreadable(
    request: Request, name: str, kind: ColumnKind, *, read_as_text: bool, alone: bool
) -> None:
    readable = alone and kind in request.spec.model.takes if kind in BLOCKS else kind != "time"
    if not readable or (kind == "text" and not read_as_text):
        raise DataError(
            f"Column {name!r} holds {kind}, which this model cannot take as input"
            + ("." if alone or kind not in BLOCKS else " beside others."),
            hint="List the input columns in dataset.inputs and leave this one out.",
        )


def choose_dividing_columns(request: Request) -> dict[str, ColumnKind]:
    """What the split and the folds look at."""
    names = request.spec.dividing_columns
    kinds = {column.name: column.kind for column in request.dataset.columns}
    refuse_absent(names, list(kinds))
    return {name: kinds[name] for name in names}


def load_table(request: Request, kinds: dict[str, ColumnKind], warnings: Warnings) -> Columns:
    columns = read_columns(request.dataset.path, kinds, request.threads)
    refuse_missing_blocks(columns, "dataset")
    return drop_missing_targets(request, columns, "dataset", warnings)


def load_test_table(request: Request, kinds: dict[str, ColumnKind], warnings: Warnings) -> Columns:
    assert request.test_dataset is not None
    refuse_absent(kinds, [column.name for column in request.test_dataset.columns])
    columns = read_columns(request.test_dataset.path, kinds, request.threads)
    refuse_missing_blocks(columns, "test dataset")
    return drop_missing_targets(request, columns, "test dataset", warnings)


def refuse_missing_blocks(columns: Columns, dataset: str) -> None:
    """Nothing could stand in for a picture or a sequence."""
    for name, values in columns.items():
        if not isinstance(values, (torch.Tensor, list)) and (missing := values.find_missing()):
            what = "picture" if isinstance(values, Images) else "sequence"
            raise DataError(
                f"Column {name!r} of the {dataset} has no {what} in {len(missing)} rows, first in "
                f"row {missing[0] + 1}.",
                hint=f"Leave these rows out, or bring their {what}s.",
            )


def drop_missing_targets(
    request: Request, columns: Columns, name: str, warnings: Warnings
) -> Columns:
    """A row needs all of its targets."""
    rows, dropped = count_rows(columns), set[int]()
    for target in request.spec.dataset.targets:
        if missing := find_missing(columns[target]):
            refuse_missing(request, target, len(missing), missing[0], name)
        dropped.update(missing)
    warn_of_dropped(request, len(dropped), rows, name, warnings)
    if dropped:
        keep = torch.ones(rows, dtype=torch.bool)
        keep[sorted(dropped)] = False
        columns = take_rows(columns, keep.nonzero().squeeze(1))
    return columns


def refuse_missing(request: Request, target: str, missing: int, first: int, name: str) -> None:
    """`first` is the first row without the target, from 0."""
    if request.spec.dataset.missing_target == "error":
        raise DataError(
            f"The target {target!r} is missing in {missing} rows of the {name}, "
            f"first in row {first + 1}.",
            hint='Fill it in, or set dataset.missing_target to "drop".',
        )


def warn_of_dropped(
    request: Request, dropped: int, rows: int, name: str, warnings: Warnings
) -> None:
    targets = request.spec.dataset.targets
    if dropped:
        warnings.add(
            f"{dropped} rows of the {name} have no {list_names(targets, ' or ')} and were dropped."
        )
    if dropped == rows:
        raise DataError(
            f"No row of the {name} has a target {list_names(targets)}.",
            hint="Bring rows with a target.",
        )
