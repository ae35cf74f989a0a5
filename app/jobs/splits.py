"""Whether the rows of a dataset can be divided as a spec asks."""

from collections.abc import Mapping

from app.jobs.findings import Findings, Loc
from app.specs import JobSpec
from app.specs.columns import Column

PARTS = ("train", "validation", "test")


def check_split(found: Findings, spec: JobSpec, columns: Mapping[str, Column]) -> None:
    split, loc = spec.dataset.split, ["dataset", "split", "column"]
    if split.column is None:
        return
    column = columns.get(split.column)
    if column is None:
        found.refuse([*loc], f"the dataset has no column {split.column!r}")
        return
    name = f"column {column.name!r}"
    if column.missing:
        found.refuse([*loc], f"{name} is missing in {column.missing} rows; fill it in")
    if split.by == "time" and column.kind not in ("time", "number"):
        found.refuse([*loc], f"{name} holds {column.kind}, which has no order in time")
    if split.by == "group":
        check_groups(found, [*loc], spec, column)
    if split.by == "column":
        check_parts(found, [*loc], column)


def check_groups(found: Findings, loc: Loc, spec: JobSpec, column: Column) -> None:
    split, name = spec.dataset.split, f"column {column.name!r}"
    parts = 1 + (split.validation > 0) + (split.test != 0 and spec.dataset.test_id is None)
    if column.kind in ("image", "sequence"):
        found.refuse(loc, f"{name} holds {column.kind}, which cannot say where a row belongs")
    elif column.distinct < parts:
        found.refuse(loc, f"{name} has {column.distinct} groups for {parts} parts of the data")


def check_parts(found: Findings, loc: Loc, column: Column) -> None:
    strange = [value for value, _ in column.values if value not in PARTS]
    if strange or not column.values:
        shown = f"{strange[0]!r}" if strange else column.kind
        found.refuse(loc, f"column {column.name!r} holds {shown}, not {', '.join(PARTS)}")
