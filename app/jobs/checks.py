"""Everything about a spec that only the data can tell, found before a job is queued.

`resolve` fills in what the spec leaves open and refuses what would fail later, all at once. A
resolved spec resolves to itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from app.datasets.tables import Dataset
from app.errors import FieldError, ValidationError, field_error
from app.jobs.sizes import Rows, count_parameters, count_rows, refuse_oversize
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.losses import (
    CLASSIFICATION_LOSSES,
    REGRESSION_LOSSES,
    BinaryCrossEntropySpec,
    CrossEntropySpec,
    MSESpec,
)
from app.specs.models import Task
from app.specs.training import CLASSIFICATION_METRICS, DEFAULT_METRICS, REGRESSION_METRICS

MAX_CLASSES = 10_000
MAX_AUTO_CLASSES = 20  # whole numbers with more distinct values are predicted as numbers
UNUSABLE = ("text", "time")
Loc = list[str | int]


@dataclass(frozen=True)
class Plan:
    """A job that can run, and what it will take."""

    spec: JobSpec
    rows: Rows
    parameter_count: int
    memory_bytes: int
    warnings: list[FieldError]


@dataclass
class Findings:
    errors: list[FieldError] = field(default_factory=list)
    warnings: list[FieldError] = field(default_factory=list)

    def refuse(self, loc: Loc, message: str) -> None:
        self.errors.append(field_error(loc, message))

    def warn(self, loc: Loc, message: str) -> None:
        self.warnings.append(field_error(loc, message, "warning"))

    def stop(self) -> None:
        if self.errors:
            raise ValidationError("The spec does not fit the dataset.", self.errors)


@dataclass(frozen=True)
class Table:
    """What is known of a dataset."""

    rows: int
    columns: dict[str, Column]

    @classmethod
    def of(cls, dataset: Dataset) -> "Table":
        columns = [Column.model_validate(column, strict=False) for column in dataset.columns]
        return cls(dataset.rows, {column.name: column for column in columns})


def resolve(spec: JobSpec, dataset: Dataset, test_dataset: Dataset | None) -> Plan:
    """Raises ValidationError with every error found, or ResourceLimit."""
    table = Table.of(dataset)
    found = Findings()
    target = table.columns.get(spec.dataset.target)
    if target is None:
        found.refuse(["dataset", "target"], _absent(spec.dataset.target, table.columns))
    inputs = find_inputs(found, spec, table)
    found.stop()
    assert target is not None
    task = find_task(spec, target)
    check_target(found, spec, target, task)
    test = Table.of(test_dataset) if test_dataset else None
    if test is not None:
        check_test_table(found, spec, table, test, [*(c.name for c in inputs), target.name])
    found.stop()
    resolved = fill(found, spec, target, task, [column.name for column in inputs])
    rows = count_rows(resolved, table.rows - target.missing, test and _usable(test, target.name))
    check_rows(found, resolved, rows)
    found.stop()
    parameters = count_parameters(resolved, inputs, target.distinct)
    memory = refuse_oversize(resolved, parameters)
    return Plan(resolved, rows, parameters, memory, found.warnings)


def _absent(name: str, columns: Iterable[str]) -> str:
    names = list(columns)
    close = get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
    return f"the dataset has no column {name!r}; it has {_quote(close)}"


def _quote(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


def _usable(table: Table, target: str) -> int:
    column = table.columns.get(target)
    return table.rows - (column.missing if column else 0)


# ---------------------------------------------------------------- inputs


def find_inputs(found: Findings, spec: JobSpec, table: Table) -> list[Column]:
    """The input columns in order; where none are listed, all but the target."""
    listed = spec.dataset.inputs
    names = listed or [name for name in table.columns if name != spec.dataset.target]
    if not names:
        found.refuse(["dataset"], "the dataset has no column besides the target")
    for i, name in enumerate(names):
        if name not in table.columns:
            found.refuse(["dataset", "inputs", i], _absent(name, table.columns))
    columns = [table.columns[name] for name in names if name in table.columns]
    refuse_unusable(found, columns, table.rows, explicit=listed is not None)
    constant = [c.name for c in columns if c.distinct == 1]
    if constant:
        found.warn(["dataset", "inputs"], f"{_quote(constant)} never change: they teach nothing")
    return columns


def refuse_unusable(
    found: Findings, columns: Sequence[Column], rows: int, *, explicit: bool
) -> None:
    text = [c for c in columns if c.kind in UNUSABLE]
    empty = [c for c in columns if c.missing >= rows and c not in text]
    remedy = "take them out of `inputs`" if explicit else "list `inputs` without them"
    if text:
        shown = _quote([c.name for c in text])
        kinds = " and ".join(sorted({c.kind for c in text}))
        found.refuse(["dataset", "inputs"], f"cannot train on {kinds} columns: {shown}; {remedy}")
    if empty:
        shown = _quote([c.name for c in empty])
        found.refuse(["dataset", "inputs"], f"every value is missing in {shown}; {remedy}")


# ---------------------------------------------------------------- the target and its task


def find_task(spec: JobSpec, target: Column) -> Task:
    tasks = spec.model.tasks()
    if len(tasks) == 1:
        return tasks[0]
    if target.kind == "number" and not (target.integer and target.distinct <= MAX_AUTO_CLASSES):
        return "regression"
    return "classification"


def check_target(found: Findings, spec: JobSpec, target: Column, task: Task) -> None:
    loc: Loc = ["dataset", "target"]
    column = f"column {target.name!r}"
    if target.kind in UNUSABLE:
        found.refuse(loc, f"{column} holds {target.kind}, which no model here predicts")
    elif task == "regression" and target.kind != "number":
        fix = "use logistic or mlp" if spec.model.type == "linear" else "set model.task to auto"
        found.refuse(loc, f"{column} is a {target.kind}, not a number, as regression needs; {fix}")
    elif task == "classification":
        check_classes(found, target)
    if target.distinct == 0:
        found.refuse(loc, f"{column} has no values")
    elif target.distinct == 1:
        found.refuse(loc, f"{column} has the same value in every row: there is nothing to learn")
    if target.missing and spec.dataset.missing_target == "error":
        found.refuse(loc, _missing(target))


def check_classes(found: Findings, target: Column) -> None:
    loc: Loc = ["dataset", "target"]
    if target.kind == "number" and not target.integer:
        found.refuse(
            loc,
            f"column {target.name!r} has fractional values, so it names no classes; "
            "predict it with linear or mlp",
        )
    elif target.distinct > MAX_CLASSES:
        found.refuse(
            loc,
            f"column {target.name!r} has {target.distinct} classes; at most {MAX_CLASSES} can be "
            "told apart",
        )


def _missing(target: Column) -> str:
    return (
        f"column {target.name!r} is missing in {target.missing} rows, first in row "
        f"{target.first_missing_row}; remove these rows, or set missing_target to drop"
    )


def check_test_table(
    found: Findings, spec: JobSpec, table: Table, test: Table, needed: Sequence[str]
) -> None:
    loc: Loc = ["dataset", "test_id"]
    for name in needed:
        column, wanted = test.columns.get(name), table.columns[name]
        if column is None:
            found.refuse(loc, f"the test dataset: {_absent(name, test.columns)}")
        elif not _alike(wanted, column, test.rows):
            found.refuse(
                loc, f"column {name!r} holds {column.kind} in the test dataset, not {wanted.kind}"
            )
    target = test.columns.get(spec.dataset.target)
    if target is not None and target.missing and spec.dataset.missing_target == "error":
        found.refuse(loc, f"in the test dataset {_missing(target)}")
    if spec.dataset.split.test:
        found.refuse(
            ["dataset", "split", "test"], "test_id is the test data; set split.test to 0 or drop it"
        )
    if spec.dataset.test_id == spec.dataset.id:
        found.warn(loc, "the test data is the training data: the figures will flatter")


def _alike(wanted: Column, column: Column, rows: int) -> bool:
    """Categories may look like booleans or text in a sample of them."""
    labels = ("category", "boolean", "text")
    if column.missing >= rows:
        return True
    return column.kind == wanted.kind or (wanted.kind in labels and column.kind in labels)


# ---------------------------------------------------------------- filling in


def fill(found: Findings, spec: JobSpec, target: Column, task: Task, inputs: list[str]) -> JobSpec:
    test = spec.dataset.split.test
    if test is None:
        test = 0.0 if spec.dataset.test_id else 0.1
    split = spec.dataset.split.model_copy(update={"test": test})
    stratify = choose_stratify(
        found, split.stratify, target, task, 1 + (test > 0) + (split.validation > 0)
    )
    split = split.model_copy(update={"stratify": stratify})
    dataset = spec.dataset.model_copy(update={"inputs": inputs, "split": split})
    model = spec.model.model_copy(update={"task": task} if spec.model.type == "mlp" else {})
    return spec.model_copy(
        update={
            "model": model,
            "dataset": dataset,
            "training": spec.training.model_copy(
                update={"loss": choose_loss(found, spec, task, target.distinct)}
            ),
            "evaluation": spec.evaluation.model_copy(
                update={"metrics": choose_metrics(found, spec, task)}
            ),
        }
    )


def choose_stratify(
    found: Findings, asked: bool | None, target: Column, task: Task, parts: int
) -> bool:
    loc: Loc = ["dataset", "split", "stratify"]
    if task == "regression":
        if asked:
            found.refuse(loc, "only classes can be stratified; leave it out for regression")
        return False
    if asked is False or target.rarest >= parts:
        return asked is not False
    message = (
        f"the rarest class of {target.name!r} has {target.rarest} rows for {parts} parts of the "
        "data"
    )
    if asked:
        found.refuse(loc, f"{message}; remove that class, or set stratify to false")
    else:
        found.warn(loc, f"{message}, so class shares are not kept equal")
    return False


def choose_loss(found: Findings, spec: JobSpec, task: Task, classes: int) -> Any:
    loss = spec.training.loss
    if loss == "auto":
        if task == "regression":
            return MSESpec()
        return BinaryCrossEntropySpec() if classes == 2 else CrossEntropySpec()
    fitting = REGRESSION_LOSSES if task == "regression" else CLASSIFICATION_LOSSES
    if loss.type not in fitting:
        found.refuse(["training", "loss"], f"{loss.type} does not fit {task}: use {fitting}")
    elif loss.type == "binary_cross_entropy" and classes != 2:
        found.refuse(
            ["training", "loss"], f"the target has {classes} classes, not 2: use cross_entropy"
        )
    return loss


def choose_metrics(found: Findings, spec: JobSpec, task: Task) -> list[str]:
    fitting = REGRESSION_METRICS if task == "regression" else CLASSIFICATION_METRICS
    listed = spec.evaluation.metrics
    for i, name in enumerate(listed or []):
        if name not in fitting:
            found.refuse(["evaluation", "metrics", i], f"{name} does not fit {task}: use {fitting}")
    metrics: list[str] = list(dict.fromkeys(listed or DEFAULT_METRICS[task]))
    for loc, monitor in _monitors(found, spec):
        name = monitor.removeprefix("validation/")
        if name != "loss" and name not in fitting:
            found.refuse(loc, f"{monitor} does not fit {task}: use loss or one of {fitting}")
        elif name != "loss" and name not in metrics:
            metrics.append(name)
    return metrics


def _monitors(found: Findings, spec: JobSpec) -> list[tuple[Loc, str]]:
    monitors: list[tuple[Loc, str]] = [(["checkpoints", "monitor"], spec.checkpoints.monitor)]
    stopping = spec.training.early_stopping
    if stopping is not None:
        monitors.append((["training", "early_stopping", "metric"], stopping.metric))
        if spec.dataset.split.validation == 0:
            found.refuse(
                ["training", "early_stopping"],
                "early stopping watches the validation rows, and split.validation is 0",
            )
    return monitors


def check_rows(found: Findings, spec: JobSpec, rows: Rows) -> None:
    split = spec.dataset.split
    short = [
        name
        for name, count, needed in (
            ("training", rows.train, 2),
            ("validation", rows.validation, split.validation > 0),
            ("test", rows.test, bool(split.test) or spec.dataset.test_id is not None),
        )
        if count < needed
    ]
    if short:
        found.refuse(
            ["dataset", "split"],
            f"{rows.usable} usable rows give {rows.train} for training, {rows.validation} for "
            f"validation and {rows.test} for testing: too few for {' and '.join(short)}; add rows, "
            "or set split.validation or split.test to 0 or to a larger share",
        )
