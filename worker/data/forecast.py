"""From a request for a forecast to tensors: the windows of each series, divided by time.

S rows of all series, N windows, D input columns, H steps ahead. Windows are places in the series:
their rows are copied only when it is their turn.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from app.specs.data import ColumnKind
from app.specs.forecast import ForecastSpec
from worker.data.columns import measure
from worker.data.divide import read_times
from worker.data.features import Features
from worker.data.fit_targets import fit_number
from worker.data.parts import choose_test_share, to_labels
from worker.data.prepare import Part, Prepared, encode_sequences
from worker.data.sequence import Sequences, fit_sequence
from worker.data.table import Columns, count_rows, find_missing, read_columns, refuse_absent
from worker.data.targets import NumberTarget, ValueTarget, join_values
from worker.data.windows import WindowsInput
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request, Table
from worker.engine.warnings import Warnings

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class Series:
    """One after the other, each in the order of time."""

    steps: Tensor  # (S, D)
    target: Tensor  # (S,)
    sizes: list[int]  # rows of each


def prepare_forecast(request: Request, warnings: Warnings) -> Prepared:
    forecast, data = require(request), request.spec.dataset
    series = read_series(request, request.dataset, "dataset")
    windows = divide(forecast, series, data.split.validation, choose_test_share(data))
    tested = series
    if request.test_dataset is not None:
        tested = read_series(request, request.test_dataset, "test dataset")
        windows[2] = divide(forecast, tested, 0.0, 0.0)[0]
    refuse_few(request, series, windows)
    features = fit(request, series, windows[0], warnings)
    parts = [
        encode(features, forecast, rows, places)
        for rows, places in zip((series, series, tested), windows, strict=True)
    ]
    return Prepared(features, *parts)


def require(request: Request) -> ForecastSpec:
    forecast, data = request.spec.dataset.forecast, request.spec.dataset
    assert forecast is not None
    if request.task != "regression" or "sequence" not in request.spec.model.takes:
        raise UserError(
            f"{request.spec.model.type} cannot forecast as it is asked to.",
            hint="Use rnn or cnn with the task regression.",
        )
    if len(data.targets) > 1 or data.hold == "disk":
        raise UserError(
            "A forecast has one target, and its rows are in memory.",
            hint="Name one target, and leave dataset.hold out.",
        )
    return forecast


# ---------------------------------------------------------------- series


def read_series(request: Request, table: Table, name: str) -> Series:
    forecast, data = require(request), request.spec.dataset
    inputs = data.inputs or data.targets
    kinds = {column.name: column.kind for column in table.columns}
    order = [each for each in (forecast.column, forecast.group) if each is not None]
    numbers = dict.fromkeys([*inputs, *data.targets])
    refuse_absent([*numbers, *order], list(kinds))
    wanted: dict[str, ColumnKind] = {each: kinds[each] for each in (*numbers, *order)}
    columns = read_columns(table.path, wanted, request.threads)
    refuse_gaps(columns, name)
    rows, sizes = arrange(columns, forecast)
    steps = torch.stack([take_number(columns, each) for each in inputs], 1)
    return Series(steps[rows], take_number(columns, data.targets[0])[rows], sizes)


def take_number(columns: Columns, name: str) -> Tensor:
    values = columns[name]
    if not isinstance(values, Tensor):
        raise DataError(
            f"Column {name!r} does not hold numbers, and a forecast reads nothing else.",
            hint="Leave it out of dataset.inputs.",
        )
    return values


def refuse_gaps(columns: Columns, dataset: str) -> None:
    for name, values in columns.items():
        if missing := find_missing(values):
            raise DataError(
                f"Column {name!r} of the {dataset} is missing in {len(missing)} rows, first in "
                f"row {missing[0] + 1}, and a forecast needs every row.",
                hint="Fill it in, or leave the column out.",
            )


def arrange(columns: Columns, forecast: ForecastSpec) -> tuple[Tensor, list[int]]:
    """The rows by series and time, and the rows of each series. Series come as in the file."""
    order = list(range(count_rows(columns)))
    if forecast.column is not None:
        times = read_times(columns[forecast.column], forecast.column)
        order.sort(key=times.__getitem__)
    groups = to_labels(columns[forecast.group]) if forecast.group else [""] * len(order)
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    order.sort(key=lambda row: places[groups[row]])  # stable: each stays in the order of time
    if forecast.column is not None:
        refuse_ties(order, times, groups, forecast)
    sizes = [0] * len(places)
    for group in groups:
        sizes[places[group]] += 1
    return torch.tensor(order), sizes


def refuse_ties(
    order: list[int], times: list[float], groups: list[str], forecast: ForecastSpec
) -> None:
    for row, following in pairwise(order):
        if times[row] == times[following] and groups[row] == groups[following]:
            first, second = sorted((row + 1, following + 1))
            raise DataError(
                f"Rows {first} and {second} have the same {forecast.column!r}, so neither comes "
                "before the other.",
                hint="Name the column that tells the series apart: dataset.forecast.group."
                if forecast.group is None
                else "Leave one of them out.",
            )


# ---------------------------------------------------------------- windows


def divide(forecast: ForecastSpec, series: Series, validation: float, test: float) -> list[Tensor]:
    """Of each part, the rows (N,) in which its windows start."""
    starts: list[list[Tensor]] = [[], [], []]
    offset = 0
    for size in series.sizes:
        for part, span in zip(starts, forecast.divide(size, validation, test), strict=True):
            if span.count:
                first = offset - forecast.window
                part.append(torch.arange(first + span.first, first + span.end))
        offset += size
    return [torch.cat([torch.empty(0, dtype=torch.long), *part]) for part in starts]


def refuse_few(request: Request, series: Series, windows: list[Tensor]) -> None:
    """A part that is asked for has windows."""
    forecast, data = require(request), request.spec.dataset
    test = choose_test_share(data) > 0 or request.test_dataset is not None
    needed = (2, int(data.split.validation > 0), int(test))
    if all(len(part) >= least for part, least in zip(windows, needed, strict=True)):
        return
    shown = ", ".join(f"{len(part)} for {name}" for part, name in zip(windows, PARTS, strict=True))
    raise DataError(
        f"{len(series.target)} rows in {len(series.sizes)} series give too few windows of "
        f"{forecast.window} rows and the {forecast.horizon} that follow: {shown}.",
        hint="Make dataset.forecast.window or horizon smaller, or the shares of dataset.split "
        "others.",
    )


def look_ahead(forecast: ForecastSpec, series: Series, starts: Tensor) -> Tensor:
    """(N, H): what follows each window."""
    places = starts + forecast.window
    return series.target[places[:, None] + torch.arange(forecast.horizon)]


def look_back(forecast: ForecastSpec, series: Series, starts: Tensor) -> Tensor:
    """(N,): the target in the last row of each window."""
    return series.target[starts + forecast.window - 1]


def cut(forecast: ForecastSpec, series: Series, starts: Tensor) -> Sequences:
    return Sequences(series.steps, starts, torch.full_like(starts, forecast.window))


# ---------------------------------------------------------------- fitting and encoding


def fit(request: Request, series: Series, starts: Tensor, warnings: Warnings) -> Features:
    """On the training windows and what follows them."""
    forecast, data = require(request), request.spec.dataset
    columns = tuple(data.inputs or data.targets)
    fitted = fit_sequence("", cut(forecast, series, starts), None, "last", data.scale)
    target = fit_target(request, series, starts, warnings)
    place, changes = 0, tuple[float, ...]()
    if forecast.difference:
        place = columns.index(data.targets[0])
        target, changes = fit_changes(target, forecast, series, starts, fitted.means[place])
    inputs = WindowsInput(
        "", None, "last", fitted.means, fitted.stds, columns, forecast.window, place, changes
    )
    return Features([inputs], target)


def fit_target(
    request: Request, series: Series, starts: Tensor, warnings: Warnings
) -> NumberTarget:
    forecast, (name,) = require(request), request.spec.dataset.targets
    ahead = look_ahead(forecast, series, starts)
    names = [name]
    if forecast.horizon > 1:
        names = [f"{name}+{step}" for step in range(1, forecast.horizon + 1)]
    fitted = [
        fit_number(request, each, values, warnings)
        for each, values in zip(names, ahead.unbind(1), strict=True)
    ]
    return join_values(fitted) if len(fitted) > 1 else fitted[0]


def fit_changes(
    target: NumberTarget, forecast: ForecastSpec, series: Series, starts: Tensor, mean: float
) -> tuple[NumberTarget, tuple[float, ...]]:
    """The target on the scale of its changes, around `mean`, that of the window."""
    ahead = look_ahead(forecast, series, starts)
    distances = ahead - look_back(forecast, series, starts)[:, None]
    changes = tuple(measure(column)[1] or 1.0 for column in distances.unbind(1))
    fitted = [
        ValueTarget(name, mean, change) for name, change in zip(target.names, changes, strict=True)
    ]
    return (join_values(fitted) if len(fitted) > 1 else fitted[0]), changes


def encode(features: Features, forecast: ForecastSpec, series: Series, starts: Tensor) -> Part:
    column = features.whole
    assert isinstance(column, WindowsInput)
    ahead = look_ahead(forecast, series, starts)
    return Part(
        encode_sequences(column, cut(forecast, series, starts)),
        ahead if forecast.horizon > 1 else ahead[:, 0],
        look_back(forecast, series, starts),
    )
