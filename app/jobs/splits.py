"""Whether the rows of a dataset can be divided as a spec asks."""

from collections.abc import Mapping

from app.jobs.findings import Findings, Loc
from app.jobs.inputs import absent
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.data import SplitSpec

PARTS = ("train", "validation", "test")


def check_split(found: Findings, spec: JobSpec, columns: Mapping[str, Column]) -> None:
    split, loc = spec.dataset.split, ["dataset", "split", "column"]
    if split.column is None:
        if spec.dataset.forecast is None:
            warn_of_unread_parts(found, spec, columns)
        return
    column = columns.get(split.column)
    if column is None:
        found.refuse([*loc], absent(split.column, columns))
        return
    name = f"column {column.name!r}"
    if column.missing:
        found.refuse([*loc], f"{name} is missing in {column.missing} rows; fill it in")
    if split.by == "time" and column.kind not in ("time", "number"):
        found.refuse(
            [*loc],
            f"{name} holds {column.kind}, which has no order in time; choose one of times or "
            "numbers",
        )
    if split.by == "group":
        check_groups(found, [*loc], spec, column)
    if split.by == "column":
        check_parts(found, [*loc], column)
        check_drawn(found, split, column)


def check_groups(found: Findings, loc: Loc, spec: JobSpec, column: Column) -> None:
    split, name = spec.dataset.split, f"column {column.name!r}"
    parts = 1 + (split.validation > 0) + (split.test != 0 and spec.dataset.test_id is None)
    if column.kind in ("image", "sequence"):
        found.refuse(loc, f"{name} holds {column.kind}, which cannot say where a row belongs")
    elif column.distinct < parts:
        found.refuse(
            loc,
            f"{name} has {column.distinct} groups for {parts} parts of the data; set "
            "split.validation or split.test to 0, or divide the rows otherwise",
        )


def check_parts(found: Findings, loc: Loc, column: Column) -> None:
    strange = [value for value, _ in column.values if value not in PARTS]
    if strange or not column.values:
        shown = f"{strange[0]!r}" if strange else column.kind
        found.refuse(
            loc,
            f"column {column.name!r} holds {shown}, not {', '.join(PARTS)}; correct it, or divide "
            "the rows otherwise",
        )


def check_drawn(found: Findings, split: SplitSpec, column: Column) -> None:
    if split.stratify and not count_drawn_parts(split, column):
        found.refuse(
            ["dataset", "split", "stratify"],
            f"column {column.name!r} says where every row belongs, so none are drawn; leave it out",
        )


def warn_of_unread_parts(found: Findings, spec: JobSpec, columns: Mapping[str, Column]) -> None:
    read = {*spec.dataset.targets, *(spec.dataset.inputs or [])}
    for column in columns.values():
        values = {value for value, _ in column.values}
        if len(values) > 1 and values <= set(PARTS) and column.name not in read:
            found.warn(
                ["dataset", "split"],
                f"column {column.name!r} says which rows are for training and testing, and the "
                'rows are divided at random without it; to follow it, set dataset.split to {"by": '
                f'"column", "column": "{column.name}"}}',
            )


# ---------------------------------------------------------------- what is drawn at random


def names_validation(column: Column) -> bool:
    return any(value == "validation" for value, _ in column.values)


def count_drawn_parts(split: SplitSpec, column: Column | None) -> int:
    """Parts that share rows at random, training among them; 0 where no row is drawn.

    A column that names no validation rows leaves them to be drawn among its training rows.
    """
    if split.by == "random":
        return 1 + bool(split.test) + (split.validation > 0)
    if split.by != "column" or column is None or names_validation(column):
        return 0
    return 2 if split.validation > 0 else 0
