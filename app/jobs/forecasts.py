"""Whether a table holds series from which the rest of them can be forecast."""

from collections.abc import Mapping, Sequence

from app.jobs.findings import Findings, Loc
from app.jobs.inputs import Inputs, absent, quote
from app.jobs.sizes import Rows
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.forecast import ForecastSpec
from app.specs.models import FAMILIES

LOC: Loc = ["dataset", "forecast"]
INPUTS: Loc = ["dataset", "inputs"]
ORDERED = ("time", "number")  # kinds of columns
COUNTED_EXACTLY = 10_000  # distinct values; beyond, their number is an estimate


def check_forecast(
    found: Findings, spec: JobSpec, columns: Mapping[str, Column], rows: int
) -> None:
    forecast = spec.dataset.forecast
    if forecast is None:
        return
    check_family(found, spec)
    if len(spec.dataset.targets) > 1:
        found.refuse(["dataset", "target"], "a forecast has one target; make a job for each")
    if forecast.difference and spec.dataset.inputs is not None:
        check_difference(found, spec)
    if spec.evaluation.cross_validation is not None:
        found.refuse(
            ["evaluation", "cross_validation"],
            "the windows of a forecast overlap, so they cannot be dealt into folds; leave it out",
        )
    check_order(found, forecast, columns)
    for name in list_columns(spec, forecast):
        if name in columns:
            refuse_gaps(found, ["dataset"], columns[name])
    check_ties(found, forecast, columns, rows)


def find_series(
    found: Findings, spec: JobSpec, columns: Mapping[str, Column], _rows: int
) -> Inputs:
    """Columns of numbers; where none are listed, the target itself."""
    names = spec.dataset.inputs or spec.dataset.targets
    for i, name in enumerate(names):
        if name not in columns and spec.dataset.inputs is not None:
            found.refuse([*INPUTS, i], absent(name, columns))
    chosen = [columns[name] for name in names if name in columns]
    if odd := [column.name for column in chosen if column.kind != "number"]:
        found.refuse(INPUTS, f"a forecast reads numbers alone: leave {quote(odd)} out of `inputs`")
    constant = [column.name for column in chosen if column.distinct == 1]
    if constant:
        found.warn(INPUTS, f"{quote(constant)} never change: they teach nothing")
    for field in ("text", "image", "sequence"):
        if getattr(spec.dataset, field) is not None:
            found.refuse(["dataset", field], "a forecast reads numbers alone: leave it out")
    return Inputs(chosen, "sequence", forecast=spec.dataset.forecast)


def check_family(found: Findings, spec: JobSpec) -> None:
    model = spec.model
    fitting = [
        str(family.model_fields["type"].default)
        for family in FAMILIES
        if "sequence" in family.takes
    ]
    if "sequence" not in model.takes:
        found.refuse(
            ["model", "type"],
            f"{model.type} reads no rows in order, so it cannot forecast; use "
            f"{' or '.join(fitting)}",
        )
        return
    if getattr(model, "task", "auto") == "classification":
        found.refuse(["model", "task"], "a forecast predicts numbers; set it to regression")
    if getattr(model, "over", "auto") not in ("auto", "sequence"):
        found.refuse(["model", "over"], "a forecast reads rows in order; set it to sequence")


def check_difference(found: Findings, spec: JobSpec) -> None:
    loc: Loc = [*LOC, "difference"]
    loss = spec.training.loss
    if spec.dataset.targets[0] not in (spec.dataset.inputs or []):
        found.refuse(loc, "it starts from the target's latest value; list the target in `inputs`")
    if loss != "auto" and loss.type == "poisson":
        found.refuse(loc, "poisson predicts logarithms, to which nothing can be added; use mse")


def check_order(found: Findings, forecast: ForecastSpec, columns: Mapping[str, Column]) -> None:
    for field in ("column", "group"):
        name = getattr(forecast, field)
        if name is not None and name not in columns:
            found.refuse([*LOC, field], absent(name, columns))
    column, group = columns.get(forecast.column or ""), columns.get(forecast.group or "")
    if column is not None and column.kind not in ORDERED:
        found.refuse(
            [*LOC, "column"],
            f"column {column.name!r} holds {column.kind}, which has no order in time; leave it out "
            "if the rows are in order",
        )
    if group is not None and group.kind in ("image", "sequence"):
        found.refuse(
            [*LOC, "group"],
            f"column {group.name!r} holds {group.kind}, which tells no series apart",
        )


def refuse_gaps(found: Findings, loc: Loc, column: Column, where: str = "") -> None:
    if column.missing:
        found.refuse(
            loc,
            f"{where}column {column.name!r} is missing in {column.missing} rows, first in row "
            f"{column.first_missing_row}, and a forecast needs every row; fill it in",
        )


def check_ties(
    found: Findings, forecast: ForecastSpec, columns: Mapping[str, Column], rows: int
) -> None:
    column = columns.get(forecast.column or "")
    if column is None or column.kind not in ORDERED or forecast.group is not None:
        return
    if not column.missing and column.distinct < min(rows, COUNTED_EXACTLY):
        found.refuse(
            [*LOC, "column"],
            f"column {column.name!r} has {column.distinct} different values in {rows} rows, so "
            "some have no order; name the column that tells the series apart: "
            "dataset.forecast.group",
        )


# ---------------------------------------------------------------- windows


def count_windows(
    found: Findings,
    spec: JobSpec,
    columns: Mapping[str, Column],
    rows: int,
    test: tuple[Mapping[str, Column], int] | None,
) -> Rows:
    """Of a spec whose split is filled in. Where there are very many series, as if all were of one
    length; the worker counts again."""
    forecast, split = spec.dataset.forecast, spec.dataset.split
    assert forecast is not None
    sizes = list_sizes(found, forecast, columns, rows, "")
    others = [] if test is None else list_sizes(found, forecast, *test, "in the test dataset ")
    found.stop()
    parts = [forecast.divide(size, split.validation, split.test or 0.0) for size in sizes]
    trained, held_out, tested = (
        sum(span.count for span in spans) for spans in zip(*parts, strict=True)
    )
    if test is not None:
        tested = sum(forecast.divide(size, 0.0, 0.0)[0].count for size in others)
    counted = Rows(trained + held_out + tested, trained, held_out, tested)
    needed = (2, int(split.validation > 0), int(bool(split.test) or test is not None))
    if any(a < b for a, b in zip((trained, held_out, tested), needed, strict=True)):
        found.refuse(
            LOC,
            f"{rows} rows in {len(sizes)} series give {trained} windows for training, {held_out} "
            f"for validation and {tested} for testing, of {forecast.window} rows and the "
            f"{forecast.horizon} that follow: too few; make window or horizon smaller, or the "
            "shares of split others",
        )
    return counted


def list_sizes(
    found: Findings,
    forecast: ForecastSpec,
    columns: Mapping[str, Column],
    rows: int,
    where: str,
) -> Sequence[int]:
    """Rows of each series."""
    group = columns.get(forecast.group or "")
    if group is None:
        refuse_short(found, forecast, f"{where}the series has {rows} rows", rows)
        return [rows]
    named = group.values
    shortest = min((size for _, size in named), default=0)
    if len(named) != group.distinct:  # only some are known, the longest ones
        shortest = group.rarest
        refuse_short(found, forecast, f"{where}a series has {shortest} rows", shortest or rows)
        return [rows // max(1, group.distinct)] * max(1, group.distinct)
    name = next((value for value, size in named if size == shortest), "")
    refuse_short(found, forecast, f"{where}series {name!r} has {shortest} rows", shortest)
    return [size for _, size in named]


def refuse_short(found: Findings, forecast: ForecastSpec, what: str, rows: int) -> None:
    if rows < forecast.needed:
        found.refuse(
            [*LOC, "window"],
            f"{what}, fewer than the {forecast.window} of a window and the {forecast.horizon} that "
            "follow; make them smaller, or leave out what is shorter",
        )


def check_test_series(
    found: Findings, spec: JobSpec, columns: Mapping[str, Column], test: Mapping[str, Column]
) -> None:
    """Of a forecast: what orders the rows is there too, and nothing is missing."""
    forecast, loc = spec.dataset.forecast, ["dataset", "test_id"]
    if forecast is None:
        return
    for name in (forecast.column, forecast.group):
        if name in columns and name is not None and name not in test:
            found.refuse([*loc], f"the test dataset: {absent(name, test)}")
    for name in list_columns(spec, forecast):
        if name in test:
            refuse_gaps(found, [*loc], test[name], "in the test dataset ")


def list_columns(spec: JobSpec, forecast: ForecastSpec) -> list[str]:
    """All that are read."""
    data = spec.dataset
    names = [*(data.inputs or []), *data.targets, forecast.column, forecast.group]
    return list(dict.fromkeys(name for name in names if name is not None))
