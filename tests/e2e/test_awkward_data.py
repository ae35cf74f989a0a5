"""Awkward data trains correctly or is refused with the column and the fix. Nothing is silent."""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from client import ApiError
from tests.e2e import jobs
from tests.e2e.conftest import Stack

COLUMNS = ["a", "b", "colour", "label"]


def make_rows(count: int = 200, **columns: Any) -> list[list[Any]]:
    """Rows whose label follows a + b; `columns` replaces a column by a function of (i, value)."""
    rng = random.Random(0)
    rows = []
    for i in range(count):
        a, b = rng.gauss(0, 1), rng.gauss(0, 1)
        row = {"a": a, "b": b, "colour": rng.choice(["red", "blue"]), "label": "no"}
        row["label"] = "yes" if a + b > 0 else "no"
        rows.append([columns[n](i, v) if n in columns else v for n, v in row.items()])
    return rows


def upload(stack: Stack, folder: Path, rows: list[list[Any]]) -> str:
    return stack.client.datasets.upload(jobs.write_csv(folder / "rows.csv", COLUMNS, rows))["id"]


def make_spec(dataset_id: str, **dataset: Any) -> dict[str, Any]:
    return {
        "name": "awkward",
        "model": {"type": "logistic"},
        "dataset": {"id": dataset_id, "target": "label", **dataset},
        "training": {"epochs": 30, "optimizer": {"type": "adam", "lr": 0.05}},
    }


def train(stack: Stack, spec: dict[str, Any]):
    """The finished job and the data of its warnings."""
    job = stack.client.jobs.wait(stack.client.jobs.create(spec)["id"], timeout=120)
    events = stack.client.jobs.stream(job["id"])
    return job, [event["data"] for event in events if event["type"] == "warning"]


def refuse(stack: Stack, spec: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        stack.client.jobs.create(spec)
    assert caught.value.status == 422
    (error, *_) = caught.value.errors
    return error


def accuracy(stack: Stack, job) -> float:
    return stack.client.jobs.evaluation(job["id"])["test"]["accuracy"]


def test_a_constant_column_is_named_and_does_no_harm(stack, tmp_path):
    dataset_id = upload(stack, tmp_path, make_rows(b=lambda i, v: 7.0, label=lambda i, v: v))
    spec = make_spec(dataset_id)

    job, warnings = train(stack, spec)

    assert job["status"] == "succeeded", job
    assert any("'b'" in w["message"] for w in warnings), warnings
    assert all(math.isfinite(v) for v in stack.client.jobs.evaluation(job["id"])["test"].values())


def test_missing_values_are_imputed(stack, tmp_path):
    rows = make_rows(
        a=lambda i, v: "" if i % 10 == 0 else v, colour=lambda i, v: v if i % 7 else ""
    )

    job, _ = train(stack, make_spec(upload(stack, tmp_path, rows)))

    assert job["status"] == "succeeded", job
    assert accuracy(stack, job) > 0.75


def test_a_category_seen_only_in_the_test_rows_is_counted(stack, tmp_path):
    train_id = upload(stack, tmp_path, make_rows())
    test_id = upload(stack, tmp_path, make_rows(40, colour=lambda i, v: "green" if i < 5 else v))

    job, warnings = train(stack, make_spec(train_id, test_id=test_id))

    assert job["status"] == "succeeded", job
    assert any("'colour'" in w["message"] and "5" in w["message"] for w in warnings), warnings


def test_a_missing_target_is_refused_with_column_row_and_fix(stack, tmp_path):
    rows = make_rows(label=lambda i, v: "NaN" if i in (4, 9) else v)
    dataset_id = upload(stack, tmp_path, rows)

    error = refuse(stack, make_spec(dataset_id))

    assert error["loc"] == ["dataset", "target"]
    assert "'label'" in error["message"]
    assert "2 " in error["message"]
    assert "5" in error["message"]
    assert "missing_target" in error["message"]
    job, warnings = train(stack, make_spec(dataset_id, missing_target="drop"))
    assert job["status"] == "succeeded"
    assert any("2 rows" in w["message"] for w in warnings), warnings


def test_a_target_with_one_class_is_refused(stack, tmp_path):
    dataset_id = upload(stack, tmp_path, make_rows(label=lambda i, v: "yes"))

    error = refuse(stack, make_spec(dataset_id))

    assert error["loc"] == ["dataset", "target"]
    assert "'label'" in error["message"]
    assert "same value" in error["message"]


def test_three_rows_are_refused_with_the_fix_or_trained_without_splits(stack, tmp_path):
    rows = [[0.0, 1.0, "red", "yes"], [1.0, 0.0, "red", "no"], [2.0, 1.0, "blue", "yes"]]
    dataset_id = upload(stack, tmp_path, rows)

    error = refuse(stack, make_spec(dataset_id))
    assert error["loc"][:2] == ["dataset", "split"]
    assert "3" in error["message"]

    job, _ = train(stack, make_spec(dataset_id, split={"validation": 0.0, "test": 0.0}))
    assert job["status"] == "succeeded", job


def test_a_loss_that_explodes_names_its_step(stack, tmp_path):
    spec = make_spec(upload(stack, tmp_path, make_rows(label=lambda i, v: 1e30 * i)))
    spec["model"] = {"type": "mlp", "task": "regression"}
    spec["dataset"]["scale"] = "none"
    spec["training"] = {"epochs": 50, "optimizer": {"type": "sgd", "lr": 1000.0}}

    job, _ = train(stack, spec)

    assert (job["status"], job["reason"]) == ("failed", "non_finite_loss")
    assert "step" in job["error"]["message"]
    assert job["error"]["hint"]
