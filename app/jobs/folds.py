"""Whether a job's rows can be divided into folds, and what its spec leaves open about them."""

from collections.abc import Mapping

from app.jobs.findings import Findings, Loc
from app.jobs.inputs import absent
from app.jobs.sizes import Rows
from app.jobs.targets import Targets
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.training import CrossValidationSpec

LOC: Loc = ["evaluation", "cross_validation"]
MIN_TRAIN = 2


def check_fold_column(found: Findings, spec: JobSpec, columns: Mapping[str, Column]) -> None:
    folds, loc = spec.evaluation.cross_validation, [*LOC, "column"]
    if folds is None or folds.column is None:
        return
    column = columns.get(folds.column)
    if column is None:
        found.refuse(loc, absent(folds.column, columns))
        return
    name = f"column {column.name!r}"
    if column.missing:
        found.refuse(loc, f"{name} is missing in {column.missing} rows; fill it in")
    if folds.by == "time" and column.kind not in ("time", "number"):
        found.refuse(
            loc,
            f"{name} holds {column.kind}, which has no order in time; choose one of times or "
            "numbers",
        )
    if folds.by == "group" and column.kind in ("image", "sequence"):
        found.refuse(loc, f"{name} holds {column.kind}, which cannot say where a row belongs")


def fill_folds(
    found: Findings,
    spec: JobSpec,
    columns: Mapping[str, Column],
    targets: Targets,
    rows: Rows,
) -> JobSpec:
    """Of a spec whose split is filled in."""
    folds = spec.evaluation.cross_validation
    if folds is None:
        return spec
    folds = choose_way(folds, spec)
    stratify = folds.by == "random" and choose_stratify(found, folds, targets)
    folds = folds.model_copy(update={"stratify": stratify})
    if folds.by == "group":
        check_groups(found, folds, columns[folds.column or ""])
    check_rows(found, folds, rows)
    evaluation = spec.evaluation.model_copy(update={"cross_validation": folds})
    return spec.model_copy(update={"evaluation": evaluation})


def choose_way(folds: CrossValidationSpec, spec: JobSpec) -> CrossValidationSpec:
    split = spec.dataset.split
    if folds.by is not None:
        return folds
    if split.by in ("group", "time"):
        return folds.model_copy(update={"by": split.by, "column": split.column})
    return folds.model_copy(update={"by": "random"})


def choose_stratify(found: Findings, folds: CrossValidationSpec, targets: Targets) -> bool:
    loc, asked = [*LOC, "stratify"], folds.stratify
    if targets.task == "regression" or targets.several:
        if asked:
            found.refuse(loc, "only the classes of one target can be stratified; leave it out")
        return False
    (target,) = targets.columns
    if asked is False or target.rarest >= folds.folds:
        return asked is not False
    message = (
        f"the rarest class of {target.name!r} has {target.rarest} rows for {folds.folds} folds"
    )
    if asked:
        found.refuse(loc, f"{message}; use fewer folds, or set stratify to false")
    else:
        found.warn(loc, f"{message}, so class shares are not kept equal")
    return False


def check_groups(found: Findings, folds: CrossValidationSpec, column: Column) -> None:
    if column.distinct < folds.folds:
        found.refuse(
            [*LOC, "folds"],
            f"column {column.name!r} has {column.distinct} groups for {folds.folds} folds; use "
            "fewer folds",
        )


def check_rows(found: Findings, folds: CrossValidationSpec, rows: Rows) -> None:
    """As the worker divides them; whole groups may leave less."""
    usable, parts = rows.train + rows.validation, folds.folds + (folds.by == "time")
    if folds.by == "time":
        smallest = usable - folds.folds * (usable // parts)
    else:
        smallest = usable - -(-usable // parts)
    held_out = max(1, round(smallest * rows.validation / usable)) if rows.validation else 0
    if usable < parts or smallest - held_out < MIN_TRAIN:
        found.refuse(
            [*LOC, "folds"],
            f"{usable} rows that are not test rows are too few for {folds.folds} folds"
            f"{', each of which needs rows before it' if folds.by == 'time' else ''}; use fewer "
            "folds, or bring more rows",
        )
