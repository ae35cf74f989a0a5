"""Which rows train, validate and test, as a spec asks."""

from torch import Tensor

from app.specs.data import DatasetSpec, SplitSpec
from worker.data.cells import RawColumn
from worker.data.divide import read_times, split_by_column, split_by_group, split_by_time
from worker.data.split import Split, split_rows
from worker.data.table import Columns, count_rows, find_missing, list_names
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request


def split_columns(request: Request, columns: Columns) -> Split:
    data, rows = request.spec.dataset, count_rows(columns)
    labels = None  # of several targets: no one class to keep in proportion
    if request.task == "classification" and len(data.targets) == 1:
        labels = to_labels(columns[data.targets[0]])
    split = divide(request, columns, choose_test_share(data), labels)
    refuse_few_rows(rows, len(split.train), data.targets)
    if labels is not None:
        refuse_one_class({labels[row] for row in split.train.tolist()}, data.targets[0])
    return split


def choose_test_share(data: DatasetSpec) -> float:
    """The API fills in the shares; a spec that left them open means the same here."""
    test = data.split.test if data.split.test is not None else 0.0 if data.test_id else 0.1
    if test and data.test_id:
        raise UserError(
            "dataset.split.test and dataset.test_id both say what to test on.",
            hint="Leave one of them out.",
        )
    return test


def refuse_few_rows(rows: int, trained: int, targets: list[str]) -> None:
    if trained < 2:
        raise DataError(
            f"{rows} rows leave {trained} for training on {list_names(targets)}; "
            "at least 2 are needed.",
            hint="Bring more rows, or set dataset.split.validation and dataset.split.test to 0.",
        )


def refuse_one_class(classes: set[str], target: str) -> None:
    if len(classes) < 2:
        (only,) = classes
        raise DataError(
            f"The training rows hold one class of {target!r}: {only[:100]!r}.",
            hint="Bring rows of at least two classes, or choose another target.",
        )


def refuse_gaps(missing: int, column: str) -> None:
    if missing:
        raise DataError(
            f"Column {column!r} is missing in {missing} rows, and the split looks at it.",
            hint="Fill it in, or divide the rows otherwise: dataset.split.by.",
        )


def divide(request: Request, columns: Columns, test: float, labels: list[str] | None) -> Split:
    spec = request.spec.dataset.split
    if spec.column is None:
        chosen = labels if spec.stratify is not False else None
        return split_rows(count_rows(columns), spec.validation, test, spec.seed, chosen)
    values = columns[spec.column]
    refuse_gaps(len(find_missing(values)), spec.column)
    if spec.by == "group":
        return split_by_group(to_labels(values), spec.validation, test, spec.seed)
    if spec.by == "time":
        return split_by_time(read_times(values, spec.column), spec.validation, test)
    split = split_by_column(to_labels(values), spec.column)
    return split if len(split.validation) else draw_validation(split, spec, labels)


def draw_validation(split: Split, spec: SplitSpec, labels: list[str] | None) -> Split:
    """A share of the training rows, where the column names none for validation."""
    chosen = None
    if labels is not None and spec.stratify is not False:
        chosen = [labels[row] for row in split.train.tolist()]
    inner = split_rows(len(split.train), spec.validation, 0.0, spec.seed, chosen)
    return Split(split.train[inner.train], split.train[inner.validation], split.test)


def to_labels(values: RawColumn) -> list[str]:
    if isinstance(values, list):
        return [value or "" for value in values]
    assert isinstance(values, Tensor)
    return [str(int(value)) if value.is_integer() else repr(value) for value in values.tolist()]
