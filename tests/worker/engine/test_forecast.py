"""Forecasts: windows that see no future, exact resume, persistence, and bundles."""

import json
import math
import random
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from app.specs.forecast import ForecastSpec
from tests.worker.conftest import Recorder, Rows, make_spec, next_attempt, stop_at
from tests.worker.engine.test_bundle import call_apart, predict_apart, unpack
from worker import registry
from worker.data.forecast import Series, cut, divide, look_ahead, look_back
from worker.data.prepare import Prepared
from worker.data.sequence import Sequences
from worker.data.stream import prepare_rows
from worker.data.windows import WindowsInput
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request
from worker.engine.run import run
from worker.engine.warnings import Warnings

Ask = Callable[..., Request]
TEST = {"split": {}, "test_id": "ds_" + "1" * 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "rnn": {"type": "rnn", "cell": "rnn", "layers": 1},
    "lstm": {"type": "rnn", "cell": "lstm"},
    "gru": {"type": "rnn", "cell": "gru", "bidirectional": True},
    "cnn": {"type": "cnn", "gather": "flatten", "pool": "max", "norm": "none"},
}


def make_series(rows: int = 120, seed: int = 0, trend: float = 0.0) -> Rows:
    """A wave of 8 days, a little of what `b` was the day before, and a trend."""
    generator = random.Random(seed)
    b = [generator.gauss(0, 1) for _ in range(rows)]
    y = [
        20 + 5 * math.sin(math.tau * t / 8) + b[t - 1] * 0.5 + trend * t if t else 20.0
        for t in range(rows)
    ]
    days = [(date(2020, 1, 1) + timedelta(t)).isoformat() for t in range(rows)]
    return {"day": days, "b": b, "y": y}


def make_job(name: str = "gru", horizon: int = 1, **parts: Any) -> Any:
    forecast = {"window": 9, "horizon": horizon} | parts.get("forecast", {})
    training: dict[str, Any] = {
        "epochs": 15,
        "batch_size": 16,
        "optimizer": {"type": "adam", "lr": 0.02},
        "loss": {"type": "mse"},
    }
    return make_spec(
        model={"over": "sequence", "task": "regression", "dropout": 0.0, **FAMILIES[name]},
        dataset={"inputs": ["y", "b"], "split": {"test": 0.2}, "forecast": forecast}
        | parts.get("dataset", {}),
        training=training | parts.get("training", {}),
        evaluation={"metrics": ["rmse", "mae"]} | parts.get("evaluation", {}),
    )


def prepare(request: Request) -> Prepared:
    return prepare_rows(request, Warnings(Recorder()))


# ---------------------------------------------------------------- windows


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(1, 8),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.sampled_from([0.0, 0.1, 0.4]),
)
def test_no_window_sees_the_future_another_series_or_what_another_part_predicts(
    sizes: list[int], window: int, horizon: int, validation: float, test: float
) -> None:
    forecast = ForecastSpec(window=window, horizon=horizon)
    rows = sum(sizes)
    series_of = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    places = torch.arange(rows, dtype=torch.float64)
    series = Series(places[:, None], places, sizes)
    parts = divide(forecast, series, validation, test)
    predicted: list[set[int]] = []
    for starts in parts:
        ahead = look_ahead(forecast, series, starts).long()
        seen = [part[0, :, 0].long() for part in cut(forecast, series, starts).split(1)]
        for inputs, outputs in zip(seen, ahead, strict=True):
            assert inputs.tolist() == list(range(int(inputs[0]), int(inputs[0]) + window))
            assert outputs.tolist() == list(
                range(int(inputs[-1]) + 1, int(inputs[-1]) + 1 + horizon)
            )
            assert len(set(series_of[torch.cat([inputs, outputs])].tolist())) == 1
        predicted.append(set(ahead.flatten().tolist()))
        assert look_back(forecast, series, starts).tolist() == [each[-1] for each in seen]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        for number in range(len(sizes)):
            ours, theirs = (
                [row for row in predicted[part] if series_of[row] == number]
                for part in (first, second)
            )
            assert not ours or not theirs or max(ours) < min(theirs)
    for starts, count in zip(
        parts,
        zip(*([s.count for s in forecast.divide(n, validation, test)] for n in sizes), strict=True),
        strict=True,
    ):
        assert len(starts) == sum(count)


def test_shares_are_those_of_the_predicted_rows(ask: Ask) -> None:
    data = prepare(
        ask(make_job(dataset={"split": {"validation": 0.1, "test": 0.2}}), make_series(100))
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (70 - 9, 10, 20)
    assert data.test.targets.tolist() == make_series(100)["y"][80:]
    assert data.test.last is not None
    assert data.test.last.tolist() == make_series(100)["y"][79:99]


def test_nothing_is_fitted_on_what_is_held_out(ask: Ask) -> None:
    rows, changed = make_series(100), make_series(100)
    changed["y"][70:] = [1e6] * 30
    states = [prepare(ask(make_job(), each)).features.to_json() for each in (rows, changed)]
    assert states[0] == states[1]


def test_windows_share_the_rows_of_their_series(ask: Ask) -> None:
    inputs = prepare(ask(make_job(), make_series(100))).train.inputs
    assert isinstance(inputs, Sequences)
    assert len(inputs.steps) < 100
    assert next(iter(inputs.split(1000))).shape == (len(inputs), 9, 2)


def test_rows_are_put_in_the_order_of_time_within_their_series(ask: Ask) -> None:
    north, south = make_series(40), make_series(30, seed=1)
    both = {name: north[name] + south[name] for name in north}
    both["where"] = ["north"] * 40 + ["south"] * 30
    order = list(range(70))
    random.Random(0).shuffle(order)
    order.sort(key=lambda row: row != 0)  # north comes first in the file
    mixed = {name: [cells[row] for row in order] for name, cells in both.items()}
    forecast = {"column": "day", "group": "where"}
    spec = make_job(forecast=forecast, dataset={"split": {"validation": 0.1, "test": 0.2}})
    data = prepare(ask(spec, mixed))
    assert data.test.targets.tolist() == north["y"][32:] + south["y"][24:]
    assert data.validation.targets.tolist() == north["y"][28:32] + south["y"][21:24]


# ---------------------------------------------------------------- whole jobs


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_forecasts_are_learned_and_the_bundle_predicts_what_was_measured(
    ask: Ask, tmp_path: Path, name: str, horizon: int
) -> None:
    spec = make_job(name, horizon, dataset={"inputs": ["y", "b"], **TEST})
    rows, test = make_series(200), make_series(60, seed=1)
    request, recorder = ask(spec, rows, test), Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    losses = [value for series, _, value in recorder.points if series == "train/loss"]
    assert losses[-1] < losses[0] / 2
    baseline = evaluation["baseline"]
    assert baseline["kind"] == "persistence"
    assert evaluation["test"]["rmse"] < 0.6 * baseline["rmse"]
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    answers = [json.loads(each) for each in predict_apart(folder, test)]
    assert len(answers) == 60 - 9 + 1
    errors = []
    for place, answer in enumerate(answers[: 60 - 9 - horizon + 1]):
        values = answer if horizon > 1 else [answer]
        truth = test["y"][9 + place : 9 + place + horizon]
        errors.append([abs(a - y) for a, y in zip(values, truth, strict=True)])
    mean = sum(map(sum, errors)) / (horizon * len(errors))
    assert mean == pytest.approx(evaluation["test"]["mae"], rel=1e-5)


@pytest.mark.parametrize("horizon", [1, 3])
def test_the_baseline_repeats_the_last_value(ask: Ask, horizon: int) -> None:
    rows = make_series(100)
    evaluation = run(ask(make_job(horizon=horizon), rows), Recorder()).evaluation
    assert evaluation is not None
    errors = [
        (rows["y"][start + step] - rows["y"][start - 1]) ** 2
        for start in range(80, 101 - horizon)
        for step in range(horizon)
    ]
    if horizon == 1:
        expected = math.sqrt(sum(errors) / len(errors))
    else:  # the mean over the steps
        each = [errors[step::horizon] for step in range(horizon)]
        expected = sum(math.sqrt(sum(part) / len(part)) for part in each) / horizon
    assert evaluation["baseline"]["rmse"] == pytest.approx(expected)


@pytest.mark.parametrize("difference", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_changes_nothing_and_neither_does_running_again(
    ask: Ask, name: str, difference: bool
) -> None:
    contents = []
    forecast = {"difference": difference}
    training = {"epochs": 3, "augment": [{"type": "noise"}, {"type": "mixup"}]}
    for cut_at in (None, None, 8):
        spec = make_job(name, 2, forecast=forecast, training=training)
        request = ask(spec, make_series(100))
        if cut_at:
            run(request, stop_at(cut_at))
            request = next_attempt(request, request.folder / f"s{cut_at}")
        recorder = Recorder()
        run(request, recorder)
        last = max(recorder.checkpoints, key=lambda saved: saved.step)
        assert last.step == 12
        contents.append((request.folder.parent / last.name / "model.safetensors").read_bytes())
    assert contents[0] == contents[1] == contents[2]


@pytest.mark.parametrize("horizon", [1, 3])
def test_differences_follow_a_trend_beyond_what_was_seen(
    ask: Ask, tmp_path: Path, horizon: int
) -> None:
    rows, scores = make_series(200, trend=1.0), {}
    for difference in (True, False):
        spec = make_job("gru", horizon, forecast={"difference": difference})
        request = ask(spec, rows)
        evaluation = run(request, Recorder()).evaluation
        assert evaluation is not None
        scores[difference] = evaluation["test"]["rmse"]
        if difference:
            folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
            answers = predict_apart(folder, {name: cells[-9:] for name, cells in rows.items()})
            (answer,) = map(json.loads, answers)
            first = answer if horizon == 1 else answer[0]
            assert first == pytest.approx(20 + 200, abs=5)
    assert scores[True] < 0.5 * scores[False]


def test_a_model_between_distances_of_zero_answers_the_last_value() -> None:
    column = WindowsInput("", None, "last", (50.0, 0.0), (10.0, 1.0), ("y", "b"), 3, 0, (2.0, 4.0))
    model = registry.build_model(make_job("cnn").model, (2, 3), 2)
    for param in model.parameters():
        nn.init.zeros_(param)
    rows = [{"y": y, "b": 0} for y in (10, 70, 90)]
    outputs = column.wrap(model)(column.encode(column.read_rows(rows)))
    answers = outputs * torch.tensor([2.0, 4.0]) + 50
    torch.testing.assert_close(answers, torch.tensor([[90.0, 90.0]]))


def test_counts_are_forecast_by_their_logarithm(ask: Ask) -> None:
    rows = make_series(120)
    rows["y"] = [float(round(y)) for y in rows["y"]]
    spec = make_job(training={"loss": {"type": "poisson"}})
    evaluation = run(ask(spec, rows), Recorder()).evaluation
    assert evaluation is not None
    assert evaluation["test"]["rmse"] < evaluation["baseline"]["rmse"]


def test_forecasts_are_explained_step_by_step(ask: Ask) -> None:
    asked = {"explanations": [{"type": "integrated_gradients", "rows": 2, "steps": 8}]}
    spec = make_job(training={"epochs": 1}, evaluation=asked, forecast={"difference": True})
    evaluation = run(ask(spec, make_series()), Recorder()).evaluation
    assert evaluation is not None
    assert evaluation["explanations"][0]["explained_rows"] == 2


def test_the_lines_of_the_readme_work(ask: Ask, tmp_path: Path) -> None:
    request = ask(make_job(horizon=2, training={"epochs": 1}), make_series())
    evaluation = run(request, Recorder()).evaluation
    assert evaluation is not None
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    text = (folder / "README.md").read_text()
    assert "Every row must hold `y`, `b`." in text
    assert "a list of the next 2 values" in text
    code = text.split("```python\n")[1].split("```")[0]
    (printed,) = call_apart(folder, "-c", f"import sys; sys.path.insert(0, '.')\n{code}")
    assert len(json.loads(printed)[0]) == 2


def test_a_forecast_needs_a_whole_window_of_numbers() -> None:
    column = WindowsInput("", None, "last", (0.0,), (1.0,), ("y",), 3, 0, ())
    with pytest.raises(ValueError, match="needs 3 consecutive rows, and here are 2"):
        column.read_rows([{"y": 1}, {"y": 2}])
    with pytest.raises(ValueError, match="column 'y', row 2: is missing"):
        column.read_rows([{"y": 1}, {"y": None}, {"y": 2}])
    with pytest.raises(ValueError, match="column 'y', row 3: is absent"):
        column.read_rows([{"y": 1}, {"y": 1}, {"x": 2}])


# ---------------------------------------------------------------- what is refused


def break_row(name: str, row: int, cell: Any) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[name][row] = cell

    return change


@pytest.mark.parametrize(
    ("change", "parts", "message"),
    [
        (break_row("b", 4, None), {}, "'b' of the dataset is missing in 1 rows, first in row 5"),
        (break_row("y", 4, None), {}, "'y' of the dataset is missing in 1 rows, first in row 5"),
        (break_row("day", 4, "2020-01-01"), {"forecast": {"column": "day"}}, "Rows 1 and 5 have"),
        (break_row("day", 4, "soon"), {"forecast": {"column": "day"}}, "row 5: 'soon' is no ISO"),
        (break_row("y", 4, 20.0), {"forecast": {"window": 100}}, "too few windows of 100 rows"),
        (break_row("y", 4, 20.0), {"dataset": {"inputs": ["day", "y"]}}, "'day' does not hold"),
    ],
)
def test_series_that_give_no_forecast_are_refused(
    ask: Ask, change: Callable[[Rows], None], parts: dict[str, Any], message: str
) -> None:
    rows = make_series(100)
    change(rows)
    with pytest.raises(DataError, match=message):
        run(ask(make_job(**parts), rows), Recorder())


def test_other_families_forecast_nothing(ask: Ask) -> None:
    spec = make_spec(
        model={"type": "linear"},
        training={"loss": {"type": "mse"}},
        evaluation={"metrics": ["r2"]},
        dataset={"forecast": {}},
    )
    with pytest.raises(UserError, match="linear cannot forecast"):
        run(ask(spec, make_series()), Recorder())
