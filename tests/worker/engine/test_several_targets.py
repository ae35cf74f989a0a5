"""Several targets at once: numbers each on its own scale, or labels that a row may have or not."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LinearRegression, LogisticRegression
from torch import Tensor, nn

from app.specs import JobSpec
from app.specs.losses import REGRESSION_LOSSES
from app.specs.models import FAMILIES, Task
from tests.worker.conftest import READERS, Recorder, Rows, make_rows, make_spec, make_text_rows
from tests.worker.engine.test_bundle import call_apart, predict_apart, unpack
from tests.worker.engine.test_resume import assert_equal_runs
from worker import registry
from worker.data.prepare import Prepared, prepare
from worker.data.split import split_rows
from worker.data.targets import CountsTarget, ValuesTarget, fit_value, read_target
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request
from worker.engine.run import run
from worker.engine.warnings import Warnings

Ask = Callable[..., Request]
NUMBERS, LABELS = ["small", "large"], ["high", "odd", "rare"]
LOSSES = {"regression": "mse", "classification": "binary_cross_entropy"}
CASES: list[tuple[str, Task]] = [
    (family.model_fields["type"].default, task) for family in FAMILIES for task in family().tasks()
]


def make_many(rows: Rows) -> Rows:
    """Numbers of very different size and three labels, all told by the inputs."""
    if "text" in rows:
        scores = [float("good" in text) + 2 * ("bad" in text) for text in rows["text"]]
    else:
        scores = [a - 2 * b for a, b in zip(rows["a"], rows["b"], strict=True)]
    middle = sorted(scores)[len(scores) // 2]
    others = {name: cells for name, cells in rows.items() if name != "y"}
    return others | {
        "small": [score / 1000 for score in scores],
        "large": [5e6 - 1e5 * score for score in scores],
        "high": ["yes" if score >= middle else "no" for score in scores],
        "odd": [float(score < middle) for score in scores],
        "rare": ["true" if n % 20 == 7 else "false" for n in range(len(scores))],
    }


def make_job(family: str, task: Task, rows: int = 60, **parts: Any) -> tuple[JobSpec, Rows]:
    targets = NUMBERS if task == "regression" else LABELS
    model = {"type": family} | ({} if family in ("linear", "logistic") else {"task": task})
    table = make_many(make_text_rows(rows) if family in READERS else make_rows(rows))
    inputs = ["text"] if "text" in table else ["a", "b", "c", "kind"]
    spec = make_spec(
        model=model | parts.get("model", {}),
        dataset={"target": targets, "inputs": inputs} | parts.get("dataset", {}),
        training={
            "epochs": 3,
            "loss": {"type": LOSSES[task]},
            "optimizer": {"type": "adam", "lr": 0.05},
            "log_every": 4,
        }
        | parts.get("training", {}),
        evaluation={"metrics": ["r2", "mae"] if task == "regression" else ["accuracy", "f1"]}
        | parts.get("evaluation", {}),
    )
    return spec, table


def train(request: Request) -> tuple[dict[str, Any], Recorder]:
    recorder = Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    json.dumps(evaluation, allow_nan=False)
    return evaluation, recorder


# ---------------------------------------------------------------- every family


@pytest.mark.parametrize(("family", "task"), CASES)
def test_every_family_learns_several_targets(ask: Ask, family: str, task: Task) -> None:
    spec, rows = make_job(family, task, training={"epochs": 12})
    evaluation, recorder = train(ask(spec, rows))
    losses = [value for name, _, value in recorder.points if name == "validation/loss"]
    assert min(losses) < losses[0]
    assert evaluation["test"]["loss"] < evaluation["baseline"]["loss"]
    assert [each["column"] for each in evaluation["per_output"]] == spec.dataset.target
    assert evaluation["confusion_matrix"] is None
    assert evaluation["classes"] == []


@pytest.mark.parametrize(("family", "task"), CASES)
def test_every_family_resumes_several_targets_exactly(ask: Ask, family: str, task: Task) -> None:
    spec, rows = make_job(family, task)
    assert_equal_runs(ask(spec, rows), [4, 11])


@pytest.mark.parametrize(("family", "task"), CASES)
def test_a_bundle_predicts_several_targets_as_measured(
    ask: Ask, tmp_path: Path, family: str, task: Task
) -> None:
    dataset = {"split": {}, "test_id": "ds_" + "1" * 32}
    spec, rows = make_job(family, task, dataset=dataset)
    _, test = make_job(family, task, rows=40)
    request = ask(spec, rows, test)
    evaluation, _ = train(request)
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    answers = [json.loads(line) for line in predict_apart(folder, test)]
    for entry in evaluation["per_output"]:
        pairs = [
            (a[entry["column"]], y) for a, y in zip(answers, test[entry["column"]], strict=True)
        ]
        if task == "regression":
            error = sum(abs(a - y) for a, y in pairs) / 40
            assert error == pytest.approx(entry["mae"], rel=1e-6)
        else:
            right = sum(a == (str(int(y)) if isinstance(y, float) else y) for a, y in pairs)
            assert right / 40 == entry["accuracy"]


def test_a_downloaded_model_of_labels_gives_their_probabilities(ask: Ask, tmp_path: Path) -> None:
    request = ask(*make_job("logistic", "classification"))
    evaluation, _ = train(request)
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    readme = (folder / "README.md").read_text()
    assert "Predicts `high`, `odd`, `rare` (classification" in readme
    code = readme.split("```python\n")[1].split("```")[0]
    label, shares = call_apart(folder, "-c", f"import sys; sys.path.insert(0, '.')\n{code}")
    assert eval(label)[0].keys() == eval(shares)[0].keys() == set(LABELS)
    assert all(0 < share < 1 for share in eval(shares)[0].values())


# ---------------------------------------------------------------- known solutions

FULL_BATCHES: dict[str, Any] = {
    "dataset": {"split": {"validation": 0.0, "test": 0.2}, "inputs": ["a", "b", "c"]},
    "training": {"batch_size": 1000, "optimizer": {"type": "sgd", "lr": 0.5, "momentum": 0.9}},
}


def train_apart(request: Request) -> tuple[Prepared, nn.Module]:
    evaluation, _ = train(request)
    data = prepare(request, Warnings(Recorder()))
    outputs = len(data.features.target.names)
    model = registry.build_model(request.spec.model, data.features.shape, outputs)
    step = evaluation["checkpoint_step"]
    model.load_state_dict(load_file(request.folder / f"s{step}" / "model.safetensors"))
    return data, model


def test_linear_finds_the_least_squares_of_every_column(ask: Ask) -> None:
    spec, rows = make_job("linear", "regression", **FULL_BATCHES)
    noise = np.random.default_rng(0).normal(size=(2, 60))
    for name, size, each in zip(NUMBERS, (0.002, 2e5), noise, strict=True):
        rows[name] = [y + size * e for y, e in zip(rows[name], each, strict=True)]
    data, model = train_apart(ask(lengthen(spec, 300), rows))
    x, y, target = data.train.inputs, data.train.targets, data.features.target
    assert isinstance(x, Tensor)
    assert isinstance(target, ValuesTarget)
    best = torch.from_numpy(LinearRegression().fit(x, y).predict(x))
    gap = (target.decode(model(x).detach()) - best) / torch.tensor(target.stds)
    assert gap.abs().max() < 1e-5


def test_logistic_finds_what_one_regression_per_label_finds(ask: Ask) -> None:
    spec, rows = make_job("logistic", "classification", 120, **FULL_BATCHES)
    flips = np.random.default_rng(0).random((3, 120)) < 0.25
    for name, flip in zip(LABELS, flips, strict=True):
        low, high = sorted(set(rows[name]))
        swapped = {low: high, high: low}
        rows[name] = [
            swapped[cell] if turn else cell for cell, turn in zip(rows[name], flip, strict=True)
        ]
    data, model = train_apart(ask(lengthen(spec, 500), rows))
    assert isinstance(data.train.inputs, Tensor)
    x = data.train.inputs.double().numpy()
    weights, biases = (param.detach() for param in model.parameters())
    for weight, bias, y in zip(weights, biases, data.train.targets.T, strict=True):
        best = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y)
        np.testing.assert_allclose(weight, best.coef_[0], atol=2e-3)
        np.testing.assert_allclose(bias, best.intercept_[0], atol=2e-3)


def lengthen(spec: JobSpec, epochs: int) -> JobSpec:
    training = spec.training.model_copy(update={"epochs": epochs, "log_every": epochs})
    return spec.model_copy(update={"training": training})


# ---------------------------------------------------------------- what is measured


def test_each_output_has_scores_of_its_own_and_the_whole_their_mean(ask: Ask) -> None:
    evaluation, _ = train(ask(*make_job("linear", "regression")))
    small, large = evaluation["per_output"]
    for name in ("r2", "mae"):
        mean = (small[name] + large[name]) / 2
        assert evaluation["test"][name] == pytest.approx(mean)
    assert large["mae"] > 1e5 * small["mae"]


def test_each_label_has_a_confusion_matrix_and_the_scores_of_its_second_class(ask: Ask) -> None:
    evaluation, _ = train(ask(*make_job("logistic", "classification")))
    high, odd, _ = evaluation["per_output"]
    assert (high["classes"], odd["classes"]) == (["no", "yes"], ["0", "1"])
    (_, wrong), (missed, right) = high["confusion_matrix"]
    assert high["support"] == missed + right
    assert high["recall"] == right / (missed + right)
    assert high["precision"] == right / (wrong + right)
    assert sum(map(sum, high["confusion_matrix"])) == evaluation["rows"]["test"]


def test_a_baseline_knows_the_mean_of_each_number_and_the_majority_of_each_label(ask: Ask) -> None:
    request = ask(*make_job("linear", "regression"))
    baseline = train(request)[0]["baseline"]
    data = prepare(request, Warnings(Recorder()))
    errors = (data.test.targets - data.train.targets.mean(0)).abs().mean(0)
    assert baseline["kind"] == "mean"
    assert baseline["mae"] == pytest.approx(errors.mean().item(), rel=1e-6)
    request = ask(*make_job("logistic", "classification"))
    baseline = train(request)[0]["baseline"]
    data = prepare(request, Warnings(Recorder()))
    chosen = (data.train.targets.double().mean(0) > 0.5).long()
    assert baseline["kind"] == "majority_class"
    right = (data.test.targets == chosen).double().mean()
    assert baseline["accuracy"] == pytest.approx(right.item())


def test_a_single_target_has_no_table_of_outputs(ask: Ask) -> None:
    assert train(ask())[0]["per_output"] is None


def test_columns_are_told_apart_by_importance(ask: Ask) -> None:
    spec, rows = make_job("linear", "regression", evaluation={"importance": "permutation"})
    columns = train(ask(spec, rows))[0]["importance"]["columns"]
    assert columns[0]["column"] in ("a", "b")


# ---------------------------------------------------------------- options and refusals


@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
def test_every_loss_of_numbers_trains_several(ask: Ask, loss: str) -> None:
    spec, rows = make_job("linear", "regression", training={"loss": {"type": loss}})
    if loss == "poisson":
        rows = rows | {name: [float(n % 4) for n in range(60)] for name in NUMBERS}
    evaluation, _ = train(ask(spec, rows))
    assert math.isfinite(evaluation["test"]["loss"])
    assert len(evaluation["per_output"]) == 2


@pytest.mark.parametrize(
    "training",
    [
        {"loss": {"type": "focal"}},
        {"loss": {"type": "binary_cross_entropy", "label_smoothing": 0.1}},
        {"loss": {"type": "binary_cross_entropy"}, "class_weights": "balanced"},
        {"loss": {"type": "focal"}, "class_weights": "balanced"},
    ],
)
def test_every_loss_of_labels_trains_and_survives_a_cut(ask: Ask, training: dict[str, Any]) -> None:
    spec, rows = make_job("mlp", "classification", training=training)
    assert_equal_runs(ask(spec, rows), [5])


def test_the_same_seed_gives_the_same_bytes(ask: Ask) -> None:
    weights = []
    for _ in range(2):
        request = ask(*make_job("mlp", "classification"))
        evaluation, _ = train(request)
        folder = request.folder / f"s{evaluation['checkpoint_step']}"
        weights.append((folder / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_a_row_needs_all_of_its_targets(ask: Ask) -> None:
    spec, rows = make_job("linear", "regression")
    rows["small"][3] = rows["large"][8] = None
    with pytest.raises(DataError, match="'small' is missing in 1 rows of the dataset, first in ro"):
        run(ask(spec, rows), Recorder())
    spec, _ = make_job("linear", "regression", dataset={"missing_target": "drop"})
    evaluation, recorder = train(ask(spec, rows))
    assert sum(evaluation["rows"].values()) == 58
    assert "2 rows of the dataset have no 'small' or 'large' and were dropped" in recorder.warnings


def test_a_label_of_three_classes_is_refused(ask: Ask) -> None:
    spec, rows = make_job("logistic", "classification")
    rows["high"][0] = "maybe"
    with pytest.raises(DataError, match="'high' holds 'maybe', 'no', 'yes'"):
        run(ask(spec, rows), Recorder())


def test_a_label_that_the_test_data_alone_holds_is_refused_with_its_row(ask: Ask) -> None:
    dataset = {"split": {}, "test_id": "ds_" + "1" * 32}
    spec, rows = make_job("logistic", "classification", dataset=dataset)
    _, test = make_job("logistic", "classification")
    test["high"][4] = "maybe"
    with pytest.raises(DataError, match="'maybe' in test row 5, neither 'no' nor 'yes'"):
        run(ask(spec, rows, test), Recorder())


def test_a_label_may_be_the_same_in_all_training_rows(ask: Ask) -> None:
    training = {"loss": {"type": "binary_cross_entropy"}, "class_weights": "balanced"}
    spec, rows = make_job("logistic", "classification", training=training)
    tested = split_rows(60, validation=0.1, test=0.2, seed=0).test[0]
    rows["rare"] = ["true" if row == tested else "false" for row in range(60)]
    _, recorder = train(ask(spec, rows))
    assert "Only one class of 'rare' is in the training rows" in recorder.warnings


@pytest.mark.parametrize(
    "training",
    [
        {"loss": {"type": "cross_entropy"}},
        {"loss": {"type": "binary_cross_entropy"}, "class_weights": {"yes": 2.0}},
    ],
)
def test_what_fits_one_target_alone_is_refused(ask: Ask, training: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        run(ask(*make_job("logistic", "classification", training=training)), Recorder())


def test_steps_of_one_column_may_share_its_scale() -> None:
    """As a forecast over several steps has it."""
    one = fit_value("y", torch.tensor([10.0, 20.0, 60.0], dtype=torch.float64))
    target = ValuesTarget(("y+1", "y+2"), (one.mean,) * 2, (one.std,) * 2)
    values = torch.tensor([[10.0, 20.0]], dtype=torch.float64)
    assert target.encode(values)[0].tolist() == one.encode(values[0]).tolist()
    assert target.answer(target.encode(values)) == [pytest.approx({"y+1": 10.0, "y+2": 20.0})]
    assert read_target(target.to_json()) == target
    counts = CountsTarget(("p", "q"), (1.0, 2.0), (1.0, 1.0))
    assert read_target(counts.to_json()) == counts
    assert counts.answer(torch.zeros(1, 2)) == [{"p": 1.0, "q": 1.0}]
