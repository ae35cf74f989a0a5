"""Options of training: what each one changes, and that it changes nothing else."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from app.specs.columns import Column
from app.specs.training import CLASSIFICATION_METRICS, REGRESSION_METRICS
from tests.worker.conftest import REGRESSION, Recorder, make_rows, make_spec
from worker.engine.average import Average
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]


def train(request: Request) -> tuple[dict[str, Any], dict[str, Tensor], Recorder]:
    recorder = Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    last = max(recorder.checkpoints, key=lambda saved: saved.step)
    folder = request.folder.parent / last.name
    return evaluation, load_file(folder / "model.safetensors"), recorder


def make_training(**training: Any) -> dict[str, Any]:
    return {"epochs": 3, "loss": {"type": "cross_entropy"}, **training}


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_accumulated_batches_step_as_one_large_batch(ask: Ask, penalty: float) -> None:
    """42 rows: the last step of an epoch has 10 rows, in batches of 4, 4 and 2."""
    large = make_training(batch_size=16, l2=penalty)
    small = {**large, "batch_size": 4, "accumulate": 4}
    ours, theirs = (train(ask(make_spec(training=each))) for each in (small, large))
    for name, tensor in ours[1].items():
        torch.testing.assert_close(tensor, theirs[1][name])
    points = zip(ours[2].points, theirs[2].points, strict=True)
    assert all(a[:2] == b[:2] and a[2] == pytest.approx(b[2], rel=1e-4) for a, b in points)


def test_the_average_follows_the_weights() -> None:
    model = nn.Linear(2, 1)
    average, expected = Average(model, 0.5), model.weight.detach().clone()
    for step in range(1, 8):
        with torch.no_grad():
            model.weight += step
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    raw = model.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight.detach(), raw)


def test_the_average_is_measured_and_exported(ask: Ask) -> None:
    parts: dict[str, Any] = {**REGRESSION, "checkpoints": {"keep_best": 0}}
    del parts["training"]
    training = {"epochs": 3, "loss": {"type": "mse"}, "optimizer": {"type": "sgd", "lr": 0.1}}
    plain, averaged = (
        train(ask(make_spec(**parts, training=each), make_rows(classify=False)))
        for each in (training, {**training, "ema_decay": 0.99})
    )
    losses = [
        [value for name, _, value in recorder.points if name == "train/loss"]
        for _, _, recorder in (plain, averaged)
    ]
    assert losses[0] == losses[1], "training itself must not change"
    assert not torch.equal(plain[1]["weight"], averaged[1]["weight"])
    assert plain[0]["test"]["loss"] != averaged[0]["test"]["loss"]
    latest = [p[2] for p in averaged[2].points if p[0] == "validation/loss"][-1]
    assert averaged[0]["validation"]["loss"] == latest


def test_balanced_weights_find_the_rare_class(ask: Ask) -> None:
    """Labels sort, so the rare class is the second one: the one that recall counts."""
    rows = make_rows(300)
    rows["y"] = ["rare" if value > 25 else "common" for value in rows["a"]]
    recalls = []
    for weights in (None, "balanced", {"rare": 50.0}):
        adam = {"type": "adam", "lr": 0.02}
        training = make_training(epochs=4, batch_size=16, optimizer=adam, class_weights=weights)
        spec = make_spec(training=training, evaluation={"metrics": ["recall"]})
        recalls.append(train(ask(spec, rows))[0]["test"]["recall"])
    assert recalls[0] < recalls[1] <= recalls[2]


def test_a_weight_for_a_class_that_is_not_there_is_refused(ask: Ask) -> None:
    spec = make_spec(training=make_training(class_weights={"c7": 2.0}))
    with pytest.raises(UserError, match="'c7', which no training row has"):
        train(ask(spec))


def test_a_weight_for_a_class_that_is_in_test_rows_alone_changes_nothing(ask: Ask) -> None:
    rows = make_rows()
    rows["y"][:2] = ["rare", "rare"]
    rows["part"] = ["test"] * 4 + ["train"] * 56
    split = {"by": "column", "column": "part", "test": None}
    weights = []
    for each in (None, {"rare": 5.0}):
        training = make_training(class_weights=each)
        request = ask(make_spec(training=training, dataset={"split": split}), rows)
        known = Column(name="y", kind="category", values=[("c0", 20), ("rare", 2)])
        columns = [known if c.name == "y" else c for c in request.dataset.columns]
        table = replace(request.dataset, columns=tuple(columns))
        weights.append(train(replace(request, dataset=table))[1]["weight"])
    assert torch.equal(*weights)


def test_counts_are_predicted_in_their_own_units(ask: Ask) -> None:
    rows = make_rows(200, classify=False)
    rows["y"] = [round(math.exp((value + 40) / 20)) for value in rows["y"]]
    parts = {**REGRESSION, "evaluation": {"metrics": ["mae", "r2"]}}
    parts["training"] = {
        "epochs": 60,
        "loss": {"type": "poisson"},
        "optimizer": {"type": "adam", "lr": 0.05},
    }
    evaluation, _, _ = train(ask(make_spec(**parts), rows))
    assert evaluation["test"]["r2"] > 0.9
    assert abs(evaluation["baseline"]["r2"]) < 0.2
    rows["y"][3] = -1
    with pytest.raises(DataError, match="poisson is for counts"):
        train(ask(make_spec(**parts, dataset={"split": {"test": 0.0, "validation": 0.0}}), rows))


def test_the_baseline_of_a_quantile_is_that_quantile(ask: Ask) -> None:
    parts = {**REGRESSION, "training": {"loss": {"type": "quantile", "q": 0.9}, "epochs": 30}}
    evaluation, _, _ = train(ask(make_spec(**parts), make_rows(200, classify=False)))
    assert evaluation["baseline"]["kind"] == "quantile"
    assert evaluation["test"]["loss"] < evaluation["baseline"]["loss"]


def test_every_metric_is_measured_and_each_class_described(ask: Ask) -> None:
    spec = make_spec(training=make_training(), evaluation={"metrics": list(CLASSIFICATION_METRICS)})
    evaluation, _, recorder = train(ask(spec))
    assert set(evaluation["test"]) == {"loss", *CLASSIFICATION_METRICS}
    assert set(evaluation["baseline"]) == {"kind", "loss", *CLASSIFICATION_METRICS}
    table, matrix = evaluation["per_class"], evaluation["confusion_matrix"]
    assert [row["class"] for row in table] == evaluation["classes"] == ["c0", "c1", "c2"]
    assert [row["support"] for row in table] == [sum(row) for row in matrix]
    recalls = [row["recall"] for row in table]
    assert sum(recalls) / 3 == pytest.approx(evaluation["test"]["balanced_accuracy"])
    assert recorder.warnings == ""
    parts = {**REGRESSION, "evaluation": {"metrics": list(REGRESSION_METRICS)}}
    evaluation, _, _ = train(ask(make_spec(**parts), make_rows(classify=False)))
    assert set(evaluation["test"]) == {"loss", *REGRESSION_METRICS}
    assert evaluation["per_class"] is None


def test_importance_names_the_columns_that_matter_and_is_seeded(ask: Ask) -> None:
    """y is a - 2b + 3 * kind; c says nothing."""
    adam = {"type": "adam", "lr": 0.05}
    parts = {**REGRESSION, "evaluation": {"metrics": ["r2"], "importance": "permutation"}}
    parts["training"] = {"epochs": 60, "optimizer": adam, "loss": {"type": "mse"}}
    spec = make_spec(**parts)
    first, second = (
        train(ask(spec, make_rows(200, classify=False)))[0]["importance"] for _ in range(2)
    )
    assert first == second
    assert first["part"] == "test"
    assert [each["column"] for each in first["columns"]] == ["b", "a", "kind", "c"]
    changes = {each["column"]: each["change"] for each in first["columns"]}
    assert changes["b"]["r2"]["mean"] < -1
    assert abs(changes["c"]["r2"]["mean"]) < 0.01
