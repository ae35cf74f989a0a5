from typing import Any

import pytest
from pydantic import ValidationError

from app.specs import JobSpec
from app.specs.columns import Column
from tests.app.jobs.test_checks import DATASET_ID, error_of, plan, resolve, sequence, table
from tests.factories import job_body, number

RNN = {"type": "rnn"}
DAY = Column(name="day", kind="time", distinct=200)
TEMP = number("temp")
STORE = Column(name="store", kind="category", distinct=2, values=[("north", 120), ("south", 80)])


def make_parts(model: Any = RNN, forecast: Any = None, **dataset: Any) -> dict[str, Any]:
    asked = {"target": "temp", "forecast": {"window": 10} | (forecast or {})}
    return {"model": model, "dataset": asked | dataset}


def plan_series(*columns: Column, rows: int = 200, **parts: Any) -> Any:
    return plan(*(columns or (DAY, TEMP, number("rain"))), rows=rows, **parts)


def test_a_forecast_reads_its_target_and_is_split_by_time() -> None:
    planned = plan_series(**make_parts(forecast={"column": "day"}))
    spec = planned.spec
    assert spec.dataset.inputs == ["temp"]
    assert (spec.dataset.split.by, spec.dataset.split.column) == ("time", "day")
    assert spec.dataset.split.stratify is False
    assert spec.model.tasks() == ("regression",)
    assert spec.training.loss != "auto"
    rows = planned.rows
    assert (rows.train, rows.validation, rows.test) == (150, 20, 20)
    again = JobSpec.model_validate(spec.model_dump(mode="json"))
    assert resolve(again, table(DAY, TEMP, number("rain"), rows=200), None).spec == spec


def test_whole_numbers_are_forecast_as_numbers() -> None:
    counts = number("temp", integer=True, distinct=5)
    assert plan_series(counts, **make_parts()).spec.model.tasks() == ("regression",)


@pytest.mark.parametrize("horizon", [1, 7])
def test_each_step_ahead_is_an_output(horizon: int) -> None:
    model = {"type": "rnn", "cell": "gru", "hidden": 8}
    forecast = {"horizon": horizon}
    planned = plan_series(**make_parts(model, forecast, inputs=["temp", "rain"]))
    assert planned.parameter_count == 24 * (2 + 8 + 2) + 9 * horizon
    assert planned.rows.test == 20 - horizon + 1


def test_a_cnn_reads_every_place_of_a_window() -> None:
    model = {"type": "cnn", "channels": [4, 6], "pool": "max"}
    planned = plan_series(**make_parts(model, {"window": 11}))
    assert planned.spec.model.model_dump()["gather"] == "flatten"
    assert planned.parameter_count == 4 * 4 + 6 * 13 + 6 * 3 + 1  # 11 places, 6, 3


def test_windows_are_counted_series_by_series() -> None:
    parts = make_parts(forecast={"group": "store", "column": "day"})
    rows = plan_series(Column(name="day", kind="time", distinct=120), TEMP, STORE, **parts).rows
    assert (rows.train, rows.validation, rows.test) == (86 + 54, 12 + 8, 12 + 8)


def test_a_test_dataset_is_a_series_of_its_own() -> None:
    test = table(DAY, TEMP, rows=50)
    rows = plan_series(DAY, TEMP, test=test, **make_parts(forecast={"horizon": 3})).rows
    assert (rows.validation, rows.test) == (20 - 2, 50 - 10 - 2)


@pytest.mark.parametrize(
    ("columns", "parts", "where", "part"),
    [
        ((TEMP,), make_parts({"type": "mlp"}), "model.type", "use cnn or rnn"),
        ((TEMP,), make_parts({"type": "linear"}), "model.type", "it cannot forecast"),
        ((TEMP,), make_parts({**RNN, "task": "classification"}), "model.task", "to regression"),
        ((TEMP,), make_parts({**RNN, "over": "tokens"}), "model.over", "to sequence"),
        ((TEMP,), make_parts(forecast={"column": "dya"}), "dataset.forecast.column", "'dya'"),
        (
            (TEMP, STORE),
            make_parts(forecast={"column": "store"}),
            "dataset.forecast.column",
            "no order in time",
        ),
        (
            (TEMP, sequence("s")),
            make_parts(forecast={"group": "s"}),
            "dataset.forecast.group",
            "no series apart",
        ),
        (
            (TEMP, STORE),
            make_parts(inputs=["temp", "store"]),
            "dataset.inputs",
            "leave 'store' out",
        ),
        ((TEMP,), make_parts(inputs=["temp", "rian"]), "dataset.inputs.1", "'rian'"),
        (
            (number("temp", missing=2, first_missing_row=9),),
            make_parts(missing_target="drop"),
            "dataset",
            "first in row 9, and a forecast needs every row",
        ),
        (
            (TEMP, Column(name="day", kind="time", distinct=100)),
            make_parts(forecast={"column": "day"}),
            "dataset.forecast.column",
            "100 different values in 200 rows",
        ),
        (
            (TEMP,),
            make_parts(forecast={"window": 200}),
            "dataset.forecast.window",
            "the series has 200 rows",
        ),
        (
            (TEMP,),
            make_parts(forecast={"window": 165}),
            "dataset.forecast",
            "0 windows for training",
        ),
        ((TEMP,), make_parts(forecast={"horizon": 30}), "dataset.forecast", "0 for validation"),
        (
            (TEMP, STORE),
            make_parts(forecast={"group": "store", "window": 80}),
            "dataset.forecast.window",
            "series 'south' has 80 rows",
        ),
        (
            (TEMP, number("rain")),
            make_parts(forecast={"difference": True}, inputs=["rain"]),
            "dataset.forecast.difference",
            "list the target",
        ),
        (
            (TEMP, number("rain")),
            make_parts(target=["temp", "rain"]),
            "dataset.target",
            "a job for each",
        ),
        ((TEMP,), make_parts(text={"type": "tokens"}), "dataset.text", "leave it out"),
        (
            (TEMP,),
            {**make_parts(), "evaluation": {"cross_validation": {"folds": 3}}},
            "evaluation.cross_validation",
            "overlap",
        ),
        (
            (TEMP,),
            {**make_parts(), "evaluation": {"importance": "permutation"}},
            "evaluation.importance",
            "something else",
        ),
        ((TEMP,), make_parts(hold="disk"), "dataset.hold", "set it to memory"),
    ],
)
def test_what_gives_no_forecast_is_refused_with_the_fix(
    columns: tuple[Column, ...], parts: dict[str, Any], where: str, part: str
) -> None:
    loc, message = error_of(*columns, rows=200, **parts)
    assert loc == where
    assert part in message


@pytest.mark.parametrize(
    ("test", "part"),
    [
        (table(number("temp", missing=1, first_missing_row=3), DAY), "first in row 3"),
        (table(TEMP), "no column 'day'"),
        (table(TEMP, DAY, rows=10), "in the test dataset the series has 10 rows"),
    ],
)
def test_a_test_series_that_gives_no_forecast_is_refused(test: Any, part: str) -> None:
    _, message = error_of(TEMP, DAY, rows=200, test=test, **make_parts(forecast={"column": "day"}))
    assert part in message


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        ({"split": {"by": "random"}}, "cannot be split by 'random'"),
        ({"split": {"by": "group", "column": "store"}}, "cannot be split by 'group'"),
        ({"split": {"stratify": True}}, "no classes to stratify"),
        ({"split": {"by": "time", "column": "other"}}, "in its own order"),
        ({"split": {"by": "time"}, "forecast": None}, "'time' needs a column"),
        ({"inputs": ["temp"], "forecast": None}, "also listed in inputs"),
    ],
)
def test_a_split_that_is_not_by_time_is_refused(dataset: dict[str, Any], part: str) -> None:
    body = job_body(
        DATASET_ID,
        **make_parts(**dataset)
        if "forecast" not in dataset
        else {"model": RNN, "dataset": {"target": "temp", **dataset}},
    )
    with pytest.raises(ValidationError, match=part):
        JobSpec.model_validate(body)
