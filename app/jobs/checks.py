"""Everything about a spec that only the data can tell, found before a job is queued.

`resolve` fills in what the spec leaves open and refuses what would fail later, all at once. A
resolved spec resolves to itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.datasets.tables import Dataset
from app.errors import FieldError
from app.jobs.augments import check_augment
from app.jobs.defaults import fill
from app.jobs.explanations import check_explanations
from app.jobs.findings import Findings, Loc
from app.jobs.folds import check_fold_column, fill_folds
from app.jobs.forecasts import check_forecast, check_test_series, count_windows, find_series
from app.jobs.hold import choose_hold, find_reason
from app.jobs.images import refuse_missing_images
from app.jobs.inputs import absent
from app.jobs.reading import find_inputs
from app.jobs.sequences import check_test_sequences
from app.jobs.sizes import Rows, Size, count_outputs, count_rows, measure_row, refuse_oversize
from app.jobs.splits import check_split
from app.jobs.targets import Targets, check_repeats, check_targets, check_tested, find_targets
from app.jobs.terms import check_terms
from app.specs import JobSpec
from app.specs.columns import Column


@dataclass(frozen=True)
class Plan:
    """A job that can run, and what it will take."""

    spec: JobSpec
    rows: Rows
    parameter_count: int
    memory_bytes: int
    warnings: list[FieldError]


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
    check_forecast(found, spec, table.columns, table.rows)
    find = find_inputs if spec.dataset.forecast is None else find_series
    inputs = find(found, spec, table.columns, table.rows)
    check_split(found, spec, table.columns)
    check_fold_column(found, spec, table.columns)
    targets = find_targets(found, spec, table.columns)
    check_targets(found, spec, targets)
    test = Table.of(test_dataset) if test_dataset else None
    if test is not None:
        check_test_table(found, spec, table, test, [*inputs.names, *targets.names])
        check_test_series(found, spec, table.columns, test.columns)
        check_tested(found, spec, targets, test.columns)
    found.stop()
    divider = table.columns.get(spec.dataset.split.column or "")
    resolved = fill(found, spec, targets, inputs, divider)
    rows = count_parts(found, resolved, targets, table, test)
    found.stop()
    resolved = fill_folds(found, resolved, table.columns, targets, rows)
    check_explanations(found, resolved, rows, inputs)
    check_augment(found, resolved, inputs)
    resolved = choose_hold(found, resolved, rows, inputs)
    found.stop()
    outputs = count_outputs(resolved, targets.columns)
    parameters = resolved.model.parameter_count(inputs.shape, outputs)
    kept = resolved.model.kept_per_row(inputs.longest_shape)
    size = Size(parameters, rows, measure_row(resolved, inputs.row_bytes), kept, outputs)
    memory = refuse_oversize(resolved, size, find_reason(resolved, inputs))
    return Plan(resolved, rows, parameters, memory, found.warnings)


def count_parts(
    found: Findings, spec: JobSpec, targets: Targets, table: Table, test: Table | None
) -> Rows:
    if spec.dataset.forecast is not None:
        tested = None if test is None else (test.columns, test.rows)
        return count_windows(found, spec, table.columns, table.rows, tested)
    usable = table.rows - targets.count_missing(table.columns)
    test_rows = None if test is None else test.rows - targets.count_missing(test.columns)
    column = table.columns.get(spec.dataset.split.column or "")
    rows = count_rows(spec, usable, test_rows, column)
    check_rows(found, spec, rows, targets)
    return rows


# ---------------------------------------------------------------- a test dataset


def check_test_table(
    found: Findings, spec: JobSpec, table: Table, test: Table, needed: Sequence[str]
) -> None:
    loc: Loc = ["dataset", "test_id"]
    for name in dict.fromkeys(needed):
        column, wanted = test.columns.get(name), table.columns[name]
        if column is None:
            found.refuse(loc, f"the test dataset: {absent(name, test.columns)}")
        elif not _alike(wanted, column, test.rows):
            found.refuse(
                loc, f"column {name!r} holds {column.kind} in the test dataset, not {wanted.kind}"
            )
        else:
            check_test_whole(found, wanted, column)
    if spec.dataset.split.test:
        found.refuse(
            ["dataset", "split", "test"], "test_id is the test data; set split.test to 0 or drop it"
        )
    if spec.dataset.test_id == spec.dataset.id:
        found.warn(loc, "the test data is the training data: the figures will flatter")


def check_test_whole(found: Findings, wanted: Column, column: Column) -> None:
    if column.kind == "image":
        refuse_missing_images(found, ["dataset", "test_id"], column)
    elif column.kind == "sequence":
        check_test_sequences(found, wanted, column)


def _alike(wanted: Column, column: Column, rows: int) -> bool:
    """Categories may look like booleans or text in a sample of them."""
    labels = ("category", "boolean", "text")
    if column.missing >= rows:
        return True
    return column.kind == wanted.kind or (wanted.kind in labels and column.kind in labels)


# ---------------------------------------------------------------- rows


def check_rows(found: Findings, spec: JobSpec, rows: Rows, targets: Targets) -> None:
    """Whether there are enough: for every part, for the terms of texts, for the classes."""
    check_parts(found, spec, rows)
    check_terms(found, spec.dataset.text, rows.usable)
    measured = rows.validation + (rows.test if spec.dataset.test_id is None else 0)
    check_repeats(found, targets, rows.usable, measured)


def check_parts(found: Findings, spec: JobSpec, rows: Rows) -> None:
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
