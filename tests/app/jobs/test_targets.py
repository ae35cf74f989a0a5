"""Several targets: what is filled in for them, and what is refused with which fix."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.jobs.checks import resolve
from app.specs import JobSpec
from app.specs.columns import Column
from tests.app.jobs.test_checks import LINEAR, MLP, error_of, errors_of, plan, table
from tests.factories import Account, category, job_body, make_dataset, number

NUMBERS = [number("length"), number("width"), number("height", min=-1.0)]
LABELS = [
    number("length"),
    category("red", "no", "yes"),
    Column(name="round", kind="boolean", distinct=2, values=[("false", 80), ("true", 70)]),
    number("rare", integer=True, distinct=2, values=[("0", 149), ("1", 1)]),
]
SIZES = {"target": ["width", "height"]}
TRAITS = {"target": ["red", "round", "rare"]}


# ---------------------------------------------------------------- what is filled in


@pytest.mark.parametrize(
    ("columns", "dataset", "task", "loss", "outputs"),
    [
        (NUMBERS, SIZES, "regression", "mse", 2),
        (LABELS, TRAITS, "classification", "binary_cross_entropy", 3),
    ],
)
def test_the_task_follows_the_targets(
    columns: list[Column], dataset: dict[str, Any], task: str, loss: str, outputs: int
) -> None:
    planned = plan(*columns, model=MLP | {"hidden": [4]}, dataset=dataset)
    spec = planned.spec
    assert spec.model.tasks() == (task,)
    assert spec.training.loss != "auto"
    assert spec.training.loss.type == loss
    assert spec.dataset.inputs == ["length"]
    assert spec.dataset.split.stratify is False
    assert planned.parameter_count == 2 * 4 + (4 + 1) * outputs
    assert resolve(spec, table(*columns), None).spec == spec
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


def test_labels_of_0_and_1_may_be_predicted_as_numbers() -> None:
    bits = [number(name, integer=True, distinct=2) for name in ("p", "q")]
    dataset = {"target": ["p", "q"]}
    assert plan(number("length"), *bits, model=LINEAR, dataset=dataset)
    spec = plan(number("length"), *bits, model=MLP | {"task": "regression"}, dataset=dataset).spec
    assert spec.evaluation.metrics == ["r2", "mae", "rmse"]


def test_a_list_of_one_target_is_that_target() -> None:
    assert plan(dataset={"target": ["species"]}).spec == plan().spec


def test_rows_without_one_of_the_targets_are_dropped() -> None:
    columns = [number("a"), number("b", missing=9), number("c", missing=4)]
    dataset = {"target": ["b", "c"], "missing_target": "drop"}
    assert plan(*columns, model=LINEAR, dataset=dataset).rows.usable == 141


def test_classes_of_several_targets_are_balanced_each_on_its_own() -> None:
    training = {"class_weights": "balanced", "loss": {"type": "focal"}}
    spec = plan(*LABELS, dataset=TRAITS, training=training).spec
    assert spec.training.class_weights == "balanced"


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("columns", "parts", "loc", "fix"),
    [
        (NUMBERS, {"dataset": {"target": ["width", "hight"]}}, "dataset.target.1", "'height'"),
        (LABELS, {"dataset": {"target": ["red", "length"]}}, "dataset.target.1", "fractional"),
        (
            [number("a"), number("p", integer=True, distinct=2), number("n", integer=True)],
            {"dataset": {"target": ["p", "n"]}},
            "dataset.target.1",
            "set model.task to regression",
        ),
        (
            [number("a"), number("p", integer=True, distinct=2), number("n", integer=True)],
            {"dataset": {"target": ["p", "n"]}, "model": {"type": "logistic"}},
            "dataset.target.1",
            "or use linear",
        ),
        (
            [*LABELS, category("shade")],
            {"dataset": {"target": ["red", "shade"]}},
            "dataset.target.1",
            "a job of its own",
        ),
        (
            LABELS,
            {"dataset": {"target": ["red", "length"]}, "model": LINEAR},
            "dataset.target.0",
            "use logistic or mlp",
        ),
        (
            [*LABELS, Column(name="note", kind="text", distinct=9)],
            {"dataset": {"target": ["red", "note"]}},
            "dataset.target.1",
            "choose a column of numbers or classes",
        ),
        (
            [*NUMBERS, number("z", distinct=1)],
            {"dataset": {"target": ["width", "z"]}},
            "dataset.target.1",
            "choose another target",
        ),
        (
            [*NUMBERS, number("z", missing=3, first_missing_row=7)],
            {"dataset": {"target": ["width", "z"]}},
            "dataset.target.1",
            "set missing_target to drop",
        ),
        (
            LABELS,
            {"dataset": TRAITS | {"split": {"stratify": True}}},
            "dataset.split.stratify",
            "leave it out",
        ),
        (
            LABELS,
            {"dataset": TRAITS, "training": {"loss": {"type": "cross_entropy"}}},
            "training.loss",
            "use binary_cross_entropy, focal",
        ),
        (
            NUMBERS,
            {"dataset": SIZES, "training": {"loss": {"type": "poisson"}}},
            "training.loss",
            "'height' goes down to -1; use mse",
        ),
        (
            LABELS,
            {"dataset": TRAITS, "training": {"class_weights": {"yes": 2}}},
            "training.class_weights",
            "use balanced",
        ),
        (
            NUMBERS,
            {"dataset": SIZES, "evaluation": {"metrics": ["exact_match"]}},
            "evaluation.metrics.0",
            "use r2",
        ),
    ],
)
def test_what_does_not_fit_several_targets_is_refused(
    columns: list[Column], parts: dict[str, Any], loc: str, fix: str
) -> None:
    found, message = error_of(*columns, **({"model": MLP} | parts))
    assert found == loc
    assert fix in message


def test_a_test_dataset_needs_all_targets_and_no_other_classes() -> None:
    columns = [LABELS[0], category("red", "no", "maybe"), LABELS[2]]
    found = errors_of(*LABELS, dataset=TRAITS, test=table(*columns))
    assert {tuple(error["loc"]) for error in found} == {("dataset", "test_id")}
    messages = [error["message"] for error in found]
    assert "'rare'" in messages[0]
    assert "'red' holds 'maybe' in the test dataset" in messages[1]
    assert plan(*LABELS, dataset=TRAITS, test=table(*LABELS))


@pytest.mark.parametrize(
    ("dataset", "part"),
    [
        ({"target": []}, "at least 2"),
        ({"target": ["a", "a"]}, "twice"),
        ({"target": ["a", "b"], "inputs": ["b"]}, "'b' is also listed in inputs"),
        ({"target": ["a", ""]}, "must not be blank"),
        ({"target": [f"c{n}" for n in range(1001)]}, "at most 1000"),
    ],
)
def test_a_list_of_targets_that_makes_no_sense_is_refused(
    dataset: dict[str, Any], part: str
) -> None:
    with pytest.raises(ValueError, match=part):
        plan(dataset=dataset)


# ---------------------------------------------------------------- through the API


def test_an_error_in_the_list_of_targets_names_its_place(
    client: TestClient, account: Account
) -> None:
    dataset = make_dataset(account.project_id)
    for target, loc in ((["length", 3], ["dataset", "target", 1]), (3, ["dataset", "target"])):
        answer = client.post("/v1/jobs", json=job_body(dataset, dataset={"target": target}))
        assert answer.status_code == 422
        assert [error["loc"] for error in answer.json()["errors"]] == [loc]


@pytest.mark.parametrize(
    ("column", "parts", "loc", "fix"),
    [
        (
            Column(name="species", kind="text", distinct=140),
            {"model": LINEAR},
            ["dataset", "target"],
            "choose a column of numbers or classes",
        ),
        (
            category("species", "x", "y", rarest=1),
            {"dataset": {"split": {"stratify": True}}},
            ["dataset", "split", "stratify"],
            "remove that class, or set stratify to false",
        ),
    ],
)
def test_a_target_of_the_wrong_kind_is_refused_at_submission(
    client: TestClient,
    account: Account,
    column: Column,
    parts: dict[str, Any],
    loc: list[str],
    fix: str,
) -> None:
    dataset = make_dataset(account.project_id, number("length"), column)
    answer = client.post("/v1/jobs", json=job_body(dataset, **parts))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["loc"] == loc
    assert fix in error["message"]


def test_a_job_with_several_targets_is_queued(client: TestClient, account: Account) -> None:
    dataset = make_dataset(account.project_id, *NUMBERS)
    answer = client.post("/v1/jobs", json=job_body(dataset, model=LINEAR, dataset=SIZES))
    assert answer.status_code == 201
    assert answer.json()["spec"]["dataset"]["target"] == ["width", "height"]
