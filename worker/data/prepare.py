"""From a request to tensors: read, drop, split, fit on the training rows, encode."""

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from app.specs.data import ColumnKind
from app.specs.text import TokensSpec
from worker.data.cells import RawColumn
from worker.data.divide import read_times, split_by_column, split_by_group, split_by_time
from worker.data.features import (
    ClassTarget,
    CountTarget,
    Features,
    Input,
    NumberInput,
    Target,
    fit_category,
    fit_classes,
    fit_number,
    fit_value,
)
from worker.data.fit_text import fit_terms, fit_tokens
from worker.data.rows import Rows, hold_rows
from worker.data.split import Split, split_rows
from worker.data.table import (
    Columns,
    count_rows,
    find_missing,
    read_columns,
    refuse_absent,
    take_rows,
)
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request
from worker.engine.warnings import Warnings

MAX_WIDTH = 100_000  # encoded inputs


@dataclass(frozen=True)
class Part:
    """Rows ready for a model: inputs (N, ...), targets (N,) class numbers or raw values."""

    inputs: Rows
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Prepared:
    features: Features
    train: Part
    validation: Part
    test: Part

    @property
    def classes(self) -> tuple[str, ...]:
        target = self.features.target
        return target.classes if isinstance(target, ClassTarget) else ()


def prepare(request: Request, warnings: Warnings) -> Prepared:
    kinds = choose_columns(request)
    columns = load(request, kinds | choose_split_column(request), warnings)
    split = split_columns(request, columns)
    parts = {
        "validation": take_rows(columns, split.validation),
        "test": take_rows(columns, split.test),
    }
    if request.test_dataset is not None:
        parts["test"] = load_test(request, kinds, warnings)
    train = take_rows(columns, split.train)
    features = fit(request, kinds, train, warnings)
    return Prepared(
        features,
        encode("training", features, train, warnings),
        encode("validation", features, parts["validation"], warnings),
        encode("test", features, parts["test"], warnings),
    )


# ---------------------------------------------------------------- reading


def choose_columns(request: Request) -> dict[str, ColumnKind]:
    """The inputs and, last, the target, each with the kind it is read as."""
    data = request.spec.dataset
    kinds = {column.name: column.kind for column in request.dataset.columns}
    inputs = data.inputs or [name for name in kinds if name not in (data.target, data.split.column)]
    refuse_absent([*inputs, data.target], list(kinds))
    text = (data.text.columns or []) if data.text else []
    kinds |= {name: "text" for name in text if name in inputs}
    for name in inputs:
        if kinds[name] == "time" or (kinds[name] == "text" and name not in text):
            raise DataError(
                f"Column {name!r} holds {kinds[name]}, which this model cannot take as input.",
                hint="List the input columns in dataset.inputs and leave this one out.",
            )
    if request.task == "regression" and kinds[data.target] != "number":
        raise DataError(
            f"The target {data.target!r} does not hold numbers, so it cannot be a regression.",
            hint="Choose a classification model, such as logistic, or another target.",
        )
    return {**{name: kinds[name] for name in inputs}, data.target: kinds[data.target]}


def choose_split_column(request: Request) -> dict[str, ColumnKind]:
    name = request.spec.dataset.split.column
    if name is None:
        return {}
    kinds = {column.name: column.kind for column in request.dataset.columns}
    refuse_absent([name], list(kinds))
    return {name: kinds[name]}


def load(request: Request, kinds: dict[str, ColumnKind], warnings: Warnings) -> Columns:
    columns = read_columns(request.dataset.path, kinds, request.threads)
    return drop_missing_targets(request, columns, "dataset", warnings)


def load_test(request: Request, kinds: dict[str, ColumnKind], warnings: Warnings) -> Columns:
    assert request.test_dataset is not None
    refuse_absent(kinds, [column.name for column in request.test_dataset.columns])
    columns = read_columns(request.test_dataset.path, kinds, request.threads)
    return drop_missing_targets(request, columns, "test dataset", warnings)


def drop_missing_targets(
    request: Request, columns: Columns, name: str, warnings: Warnings
) -> Columns:
    target = request.spec.dataset.target
    missing = find_missing(columns[target])
    if missing and request.spec.dataset.missing_target == "error":
        raise DataError(
            f"The target {target!r} is missing in {len(missing)} rows of the {name}, "
            f"first in row {missing[0] + 1}.",
            hint='Fill it in, or set dataset.missing_target to "drop".',
        )
    if missing:
        warnings.add(f"{len(missing)} rows of the {name} have no {target!r} and were dropped.")
        keep = torch.ones(count_rows(columns), dtype=torch.bool)
        keep[missing] = False
        columns = take_rows(columns, keep.nonzero().squeeze(1))
    if count_rows(columns) == 0:
        raise DataError(
            f"No row of the {name} has a target {target!r}.", hint="Bring rows with a target."
        )
    return columns


# ---------------------------------------------------------------- splitting


def split_columns(request: Request, columns: Columns) -> Split:
    data, rows = request.spec.dataset, count_rows(columns)
    classify = request.task == "classification"
    labels = to_labels(columns[data.target]) if classify else None
    # The API fills in the shares; a spec that left them open means the same here.
    test = data.split.test if data.split.test is not None else 0.0 if data.test_id else 0.1
    if test and data.test_id:
        raise UserError(
            "dataset.split.test and dataset.test_id both say what to test on.",
            hint="Leave one of them out.",
        )
    split = divide(request, columns, test, labels)
    if len(split.train) < 2:
        raise DataError(
            f"{rows} rows leave {len(split.train)} for training on {data.target!r}; "
            "at least 2 are needed.",
            hint="Bring more rows, or set dataset.split.validation and dataset.split.test to 0.",
        )
    if labels is not None and len({labels[row] for row in split.train.tolist()}) < 2:
        raise DataError(
            f"The training rows hold one class of {data.target!r}: "
            f"{labels[split.train[0]][:100]!r}.",
            hint="Bring rows of at least two classes, or choose another target.",
        )
    return split


def divide(request: Request, columns: Columns, test: float, labels: list[str] | None) -> Split:
    spec = request.spec.dataset.split
    if spec.column is None:
        chosen = labels if spec.stratify is not False else None
        return split_rows(count_rows(columns), spec.validation, test, spec.seed, chosen)
    values = columns[spec.column]
    if missing := find_missing(values):
        raise DataError(
            f"Column {spec.column!r} is missing in {len(missing)} rows, and the split looks at it.",
            hint="Fill it in, or divide the rows otherwise: dataset.split.by.",
        )
    if spec.by == "group":
        return split_by_group(to_labels(values), spec.validation, test, spec.seed)
    if spec.by == "time":
        return split_by_time(read_times(values, spec.column), spec.validation, test)
    return split_by_column(to_labels(values), spec.column)


def to_labels(values: RawColumn) -> list[str]:
    if not isinstance(values, Tensor):
        return [value or "" for value in values]
    return [str(int(value)) if value.is_integer() else repr(value) for value in values.tolist()]


# ---------------------------------------------------------------- fitting and encoding


def fit(
    request: Request, kinds: dict[str, ColumnKind], train: Columns, warnings: Warnings
) -> Features:
    data = request.spec.dataset
    inputs = [
        fit_input(request, name, kind, train[name])
        for name, kind in kinds.items()
        if name != data.target
    ]
    constant = [each.name for each in inputs if isinstance(each, NumberInput) and each.std == 0]
    if constant:
        warnings.add(f"Constant in the training rows, so set to 0: {list_names(constant)}.")
    features = Features(inputs, fit_target(request, train[data.target], warnings))
    refuse_width(features)
    return features


def refuse_width(features: Features) -> None:
    (width, *_), columns = features.shape, features.table
    if width == 0:
        names = list_names([column.name for column in features.inputs])
        raise DataError(
            f"Nothing is left of {names} in the training rows.",
            hint="Choose other inputs, or keep more terms: dataset.text.min_df and max_df.",
        )
    if columns and not features.sparse and width > MAX_WIDTH:
        widest = max(columns, key=lambda column: column.width)
        raise DataError(
            f"The inputs become {width:,} numbers per row, {widest.width:,} of them from "
            f"column {widest.name!r}; at most {MAX_WIDTH:,} are possible.",
            hint="Leave columns with very many categories out of dataset.inputs.",
        )


def fit_input(request: Request, name: str, kind: ColumnKind, values: RawColumn) -> Input:
    data = request.spec.dataset
    if isinstance(values, Tensor):
        return fit_number(name, values, data.impute, data.scale)
    if data.text is not None and name in (data.text.columns or []):
        if isinstance(data.text, TokensSpec):
            return fit_tokens(name, values, data.text)
        return fit_terms(name, values, data.text)
    return fit_category(name, kind, values)


def list_names(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def fit_target(request: Request, values: RawColumn, warnings: Warnings) -> Target:
    name = request.spec.dataset.target
    if request.task == "classification":
        return fit_classes(name, to_labels(values))
    assert isinstance(values, Tensor)
    if values.min() == values.max():
        warnings.add(f"The target {name!r} is constant in the training rows.")
    loss = request.spec.training.loss
    if loss != "auto" and loss.type == "poisson":
        return fit_count(name, values)
    return fit_value(name, values)


def fit_count(name: str, values: Tensor) -> CountTarget:
    if values.min() < 0:
        raise DataError(
            f"The target {name!r} goes down to {values.min().item():g}, and poisson is for counts.",
            hint='Set training.loss to {"type": "mse"}.',
        )
    return CountTarget(name, values.mean().item(), 1.0)


def encode(name: str, features: Features, columns: Columns, warnings: Warnings) -> Part:
    """Rows of a class that training has not seen stay: they count as wrong."""
    refuse_too_large(features, count_rows(columns))
    inputs, unknown = features.encode(columns)
    for column, count in unknown.items():
        warnings.add(
            f"Column {column!r}: {count} of {len(inputs)} {name} rows hold a category that the "
            "training rows do not; it was ignored."
        )
    refuse_overflow(features, inputs)
    values, target = columns[features.target.name], features.target
    if not isinstance(target, ClassTarget):
        assert isinstance(values, Tensor)
        return Part(hold_rows(inputs), values)
    numbers = target.encode(to_labels(values))
    if strangers := int((numbers == len(target.classes)).sum()):
        warnings.add(
            f"{strangers} of {len(numbers)} {name} rows have a {target.name!r} that the training "
            "rows do not; they count as wrong."
        )
    return Part(hold_rows(inputs), numbers)


def refuse_too_large(features: Features, rows: int) -> None:
    if features.sparse or features.whole is not None:
        return
    needed = 4 * rows * features.shape[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise DataError(
            f"The encoded inputs need {needed / 2**30:.1f} GiB, more than half of this machine's "
            "memory.",
            hint="Leave columns with very many categories out of dataset.inputs.",
        )


def refuse_overflow(features: Features, inputs: Tensor) -> None:
    if features.sparse or features.whole is not None or inputs.isfinite().all():
        return
    bad = int((~inputs.isfinite()).any(0).nonzero()[0])
    for column in features.table:
        if isinstance(column, NumberInput) and bad < column.width:
            raise DataError(
                f"Column {column.name!r} holds numbers too large for 32 bits.",
                hint='Rescale it, or set dataset.scale to "standard".',
            )
        bad -= column.width
