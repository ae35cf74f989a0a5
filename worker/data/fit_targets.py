"""Fits what a model predicts on the training rows, and reads it from raw columns.

N rows, K targets of a job that has several.
"""

import torch
from torch import Tensor

from worker.data.cells import RawColumn
from worker.data.parts import to_labels
from worker.data.table import Columns, list_names
from worker.data.targets import (
    ClassTarget,
    CountTarget,
    LabelsTarget,
    NumberTarget,
    Target,
    ValueTarget,
    fit_classes,
    fit_value,
    join_values,
)
from worker.engine.errors import DataError
from worker.engine.request import Request
from worker.engine.warnings import Warnings


def fit_target(request: Request, every: Columns, train: Columns, warnings: Warnings) -> Target:
    """`every` holds the training rows and all others: the two classes of a rare label may not both
    be among the rows that train."""
    names = request.spec.dataset.targets
    if request.task == "classification":
        if len(names) > 1:
            return fit_labels(names, every, train, warnings)
        return fit_classes(names[0], to_labels(train[names[0]]))
    fitted = [fit_number(request, name, train[name], warnings) for name in names]
    return fitted[0] if len(fitted) == 1 else join_values(fitted)


def fit_labels(
    names: list[str], every: Columns, train: Columns, warnings: Warnings
) -> LabelsTarget:
    labels = [fit_classes(name, to_labels(every[name])) for name in names]
    for label in labels:
        if len(label.classes) != 2:
            raise DataError(
                f"The target {label.name!r} holds {list_names(label.classes)}: each of several "
                "targets needs two classes.",
                hint="Leave it out of dataset.target, or predict it in a job of its own.",
            )
    constant = [name for name in names if len(set(to_labels(train[name]))) < 2]
    if constant:
        warnings.add(
            f"Only one class of {list_names(constant)} is in the training rows: the model cannot "
            "learn when it is the other."
        )
    return LabelsTarget(tuple(labels))


def fit_number(request: Request, name: str, values: RawColumn, warnings: Warnings) -> ValueTarget:
    assert isinstance(values, Tensor)
    check_number(request, name, values.min().item(), values.max().item(), warnings)
    if counts(request):
        return CountTarget(name, values.mean().item(), 1.0)
    return fit_value(name, values)


def counts(request: Request) -> bool:
    """Whether the targets are counts."""
    loss = request.spec.training.loss
    return loss != "auto" and loss.type == "poisson"


def check_number(request: Request, name: str, low: float, high: float, warnings: Warnings) -> None:
    """A target that goes from `low` to `high` in the training rows."""
    if low == high:
        warnings.add(f"The target {name!r} is constant in the training rows.")
    if counts(request) and low < 0:
        raise DataError(
            f"The target {name!r} goes down to {low:g}, and poisson is for counts.",
            hint='Set training.loss to {"type": "mse"}.',
        )


# ---------------------------------------------------------------- encoding


def read_targets(target: Target, part: str, columns: Columns, warnings: Warnings) -> Tensor:
    """Values in their own units, or class numbers: (N,), of several targets (N, K).

    Rows of a class that training has not seen stay: they count as wrong.
    """
    if isinstance(target, ClassTarget):
        numbers = target.encode(to_labels(columns[target.name]))
        warn_of_strangers(target, part, numbers, warnings)
        return numbers
    if isinstance(target, NumberTarget):
        values = [column for name in target.names if isinstance(column := columns[name], Tensor)]
        return values[0] if isinstance(target, ValueTarget) else torch.stack(values, 1)
    return torch.stack(
        [encode_label(label, part, columns[label.name]) for label in target.labels], 1
    )


def warn_of_strangers(target: ClassTarget, part: str, numbers: Tensor, warnings: Warnings) -> None:
    strangers = int((numbers == len(target.classes)).sum())
    if strangers == len(numbers) > 0:
        raise DataError(
            f"None of the {strangers} {part} rows has a {target.name!r} that the training rows "
            "have, so no loss can be measured on them.",
            hint="Divide the rows otherwise (dataset.split), or bring rows of the same classes.",
        )
    if strangers:
        warnings.add(
            f"{strangers} of {len(numbers)} {part} rows have a {target.name!r} that the training "
            "rows do not; they count as wrong."
        )


def encode_label(label: ClassTarget, part: str, values: RawColumn) -> Tensor:
    numbers = label.encode(to_labels(values))
    strange = (numbers == len(label.classes)).nonzero().flatten().tolist()
    if strange:
        raise DataError(
            f"The target {label.name!r} is {to_labels(values)[strange[0]][:40]!r} in {part} row "
            f"{strange[0] + 1}, neither {label.classes[0]!r} nor {label.classes[1]!r}.",
            hint="Each of several targets has two classes: correct the cell.",
        )
    return numbers
