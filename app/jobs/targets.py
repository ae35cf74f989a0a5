"""What a job predicts: one column, or several of one kind at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.jobs.findings import Findings, Loc
from app.jobs.inputs import UNUSABLE, absent, quote
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.models import DeepSpec, Task

MAX_CLASSES = 10_000
MAX_AUTO_CLASSES = 20  # whole numbers with more distinct values are predicted as numbers
LOC: Loc = ["dataset", "target"]


@dataclass(frozen=True)
class Targets:
    """One column, or several: all of them numbers, or all of them of two classes."""

    columns: list[Column]
    task: Task

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def several(self) -> bool:
        return len(self.columns) > 1

    def count_missing(self, columns: Mapping[str, Column]) -> int:
        """Rows without some target, in the table that `columns` describe: at least so many."""
        return max(columns[name].missing for name in self.names)


def find_targets(found: Findings, spec: JobSpec, columns: Mapping[str, Column]) -> Targets:
    """Raises ValidationError, with all that was found, where a column is absent."""
    names = spec.dataset.targets
    for i, name in enumerate(names):
        if name not in columns:
            found.refuse(LOC if len(names) == 1 else [*LOC, i], absent(name, columns))
    found.stop()
    chosen = [columns[name] for name in names]
    return Targets(chosen, find_task(spec, chosen))


def find_task(spec: JobSpec, columns: list[Column]) -> Task:
    tasks = spec.model.tasks()
    if spec.dataset.forecast is not None:
        return "regression"
    if len(tasks) == 1:
        return tasks[0]
    if len(columns) > 1:
        numbers = all(column.kind == "number" and column.distinct != 2 for column in columns)
        return "regression" if numbers else "classification"
    (column,) = columns
    if column.kind == "number" and not (column.integer and column.distinct <= MAX_AUTO_CLASSES):
        return "regression"
    return "classification"


def check_targets(found: Findings, spec: JobSpec, targets: Targets) -> None:
    for i, column in enumerate(targets.columns):
        loc: Loc = [*LOC, i] if targets.several else LOC
        check_values(found, loc, column)
        if column.kind in UNUSABLE:
            found.refuse(
                loc,
                f"column {column.name!r} holds {column.kind}, which no model here predicts; "
                "choose a column of numbers or classes",
            )
        elif targets.task == "regression":
            check_number(found, loc, spec, column)
        elif targets.several:
            check_label(found, loc, spec, targets, column)
        else:
            check_classes(found, loc, column)
        told = spec.dataset.forecast is not None  # as of any column that it reads
        if column.missing and spec.dataset.missing_target == "error" and not told:
            found.refuse(loc, describe_missing(column))


def check_values(found: Findings, loc: Loc, column: Column) -> None:
    if column.distinct == 0:
        found.refuse(
            loc, f"column {column.name!r} has no values; choose another target, or fill it in"
        )
    elif column.distinct == 1:
        found.refuse(
            loc,
            f"column {column.name!r} has the same value in every row, so there is nothing to "
            "learn; choose another target, or upload rows with at least two different values",
        )


def check_number(found: Findings, loc: Loc, spec: JobSpec, column: Column) -> None:
    if column.kind != "number":
        fix = "use logistic or mlp" if spec.model.type == "linear" else "set model.task to auto"
        found.refuse(
            loc,
            f"column {column.name!r} is a {column.kind}, not a number, as regression needs; {fix}",
        )


def check_classes(found: Findings, loc: Loc, column: Column) -> None:
    if column.kind == "number" and not column.integer:
        found.refuse(
            loc,
            f"column {column.name!r} has fractional values, so it names no classes; "
            "predict it with linear or mlp",
        )
    elif column.distinct > MAX_CLASSES:
        found.refuse(
            loc,
            f"column {column.name!r} has {column.distinct} classes; at most {MAX_CLASSES} can be "
            "told apart",
        )


def check_repeats(found: Findings, targets: Targets, rows: int, measured: int) -> None:
    """`rows` have a target; `measured` of them are not trained on."""
    (column, *_) = targets.columns
    if targets.task == "classification" and measured and column.distinct >= rows:
        found.refuse(
            LOC,
            f"column {column.name!r} has another value in every row, so no class of a row that is "
            "measured can be learned from other rows; choose another target",
        )


def check_label(found: Findings, loc: Loc, spec: JobSpec, targets: Targets, column: Column) -> None:
    fractional = column.kind == "number" and not column.integer
    if column.distinct < 2 or (column.distinct == 2 and not fractional):
        return
    what = "fractional values" if fractional else f"{column.distinct} different values"
    fix = "predict it in a job of its own"
    if all(each.kind == "number" for each in targets.columns):
        deep = isinstance(spec.model, DeepSpec)
        numbers = "set model.task to regression" if deep else "use linear"
        fix = f"{fix}, or {numbers} to predict all of them as numbers"
    found.refuse(
        loc,
        f"column {column.name!r} has {what}, and where several targets are told as classes each "
        f"has two; {fix}",
    )


def describe_missing(column: Column) -> str:
    return (
        f"column {column.name!r} is missing in {column.missing} rows, first in row "
        f"{column.first_missing_row}; remove these rows, or set missing_target to drop"
    )


# ---------------------------------------------------------------- a test dataset


def check_tested(
    found: Findings, spec: JobSpec, targets: Targets, test: Mapping[str, Column]
) -> None:
    loc: Loc = ["dataset", "test_id"]
    for wanted in targets.columns:
        column = test.get(wanted.name)
        if column is None:  # told already
            continue
        told = spec.dataset.forecast is not None
        if column.missing and spec.dataset.missing_target == "error" and not told:
            found.refuse(loc, f"in the test dataset {describe_missing(column)}")
        if targets.several and targets.task == "classification":
            check_tested_label(found, loc, wanted, column)
        elif targets.task == "classification":
            check_tested_classes(found, loc, wanted, column)


def check_tested_classes(found: Findings, loc: Loc, wanted: Column, column: Column) -> None:
    known, tested = ({value for value, _ in each.values} for each in (wanted, column))
    if len(known) == wanted.distinct and tested and not known & tested:
        found.refuse(
            loc,
            f"no row of the test dataset has a class of {wanted.name!r}, such as "
            f"{quote(sorted(known)[:3])}: nothing can be measured; bring rows of the same classes",
        )


def check_tested_label(found: Findings, loc: Loc, wanted: Column, column: Column) -> None:
    known = [value for value, _ in wanted.values]
    strange = [value for value, _ in column.values if value not in known]
    if len(known) == 2 and strange:  # else one is too long to be listed
        found.refuse(
            loc,
            f"column {wanted.name!r} holds {quote(strange)} in the test dataset, not only "
            f"{quote(known)}; correct these rows",
        )
