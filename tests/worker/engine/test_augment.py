"""Jobs with augmentations: exact on resume, off in evaluation, refused where they do not fit."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.worker.conftest import Recorder, make_rows, make_spec, make_text_rows
from tests.worker.engine.test_resume import assert_equal_runs, make_job, read_weights
from worker.data.stream import prepare_rows
from worker.engine.build import build_loss, build_model, build_trainer
from worker.engine.errors import UserError
from worker.engine.request import Request
from worker.engine.run import run
from worker.engine.warnings import Warnings

Ask = Callable[..., Request]
JOBS = [
    ("mlp", [{"type": "noise", "std": 0.3}]),
    ("linear", [{"type": "mixup"}]),
    ("logistic", [{"type": "mixup", "alpha": 1.0}, {"type": "noise"}, {"type": "noise"}]),
    ("rnn", [{"type": "word_dropout", "probability": 0.4}]),
    ("cnn", [{"type": "word_dropout", "probability": 0.4}]),
]


@pytest.mark.parametrize(("family", "augment"), JOBS)
def test_a_resumed_run_with_augmentations_equals_an_uninterrupted_one(
    ask: Ask, family: str, augment: list[dict[str, Any]]
) -> None:
    spec, rows = make_job(family, "adam", "cosine", augment=augment)
    assert_equal_runs(ask(spec, rows), [1, 5, 6, 13])


@pytest.mark.parametrize(("family", "augment"), JOBS)
def test_augmentations_change_what_is_learned(
    ask: Ask, family: str, augment: list[dict[str, Any]]
) -> None:
    contents = set()
    for chosen in ([], augment):
        spec, rows = make_job(family, "adam", "cosine", augment=chosen)
        request, recorder = ask(spec, rows), Recorder()
        run(request, recorder)
        contents.add(read_weights(request, recorder, 18))
    assert len(contents) == 2


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_an_accumulated_step_augments_as_one_of_all_rows_does(ask: Ask, loss: str) -> None:
    """Also where the pairs of mixup lie in different batches, and with weighted classes."""
    augment = [{"type": "mixup", "alpha": 1.0}, {"type": "noise"}]
    weights = []
    for batch in ({"batch_size": 12}, {"batch_size": 4, "accumulate": 3}):
        spec, rows = make_job(
            "mlp",
            "sgd",
            "constant",
            **batch,
            augment=augment,
            class_weights={"c0": 3.0},
            loss={"type": loss},
        )
        spec = spec.model_copy(update={"model": spec.model.model_copy(update={"dropout": 0.0})})
        trainer = make_trainer(ask(spec, rows))
        assert trainer.train() is None
        weights.append([param.detach().clone() for param in trainer.model.parameters()])
    torch.testing.assert_close(*weights)


def make_trainer(request: Request) -> Any:
    warnings = Warnings(Recorder())
    data = prepare_rows(request, warnings)
    loss = build_loss(request, data)
    model = build_model(request, data, loss.outputs(len(data.classes)))
    return build_trainer(request, data, model, loss, warnings)


def test_validation_rows_are_measured_as_they_are(ask: Ask) -> None:
    spec, rows = make_job("mlp", "adam", "constant", augment=[{"type": "noise", "std": 100.0}])
    trainer = make_trainer(ask(spec, rows))
    first, second = (trainer.validation.score(trainer.model) for _ in range(2))
    assert first == second
    spec, rows = make_job("mlp", "adam", "constant")
    assert make_trainer(ask(spec, rows)).validation.score(trainer.model) == first


def test_a_model_learns_from_mixed_rows(ask: Ask) -> None:
    training = {"epochs": 40, "optimizer": {"type": "adam", "lr": 0.05}}
    spec = make_spec(training={**training, "augment": [{"type": "mixup"}, {"type": "noise"}]})
    evaluation = run(ask(spec, make_rows(200)), Recorder()).evaluation
    assert evaluation is not None
    assert evaluation["test"]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (make_spec(training={"augment": [{"type": "shift"}]}), "it changes image"),
        (make_spec(training={"augment": [{"type": "word_dropout"}]}), "the input is table"),
        (
            make_spec(model={"type": "rnn"}, training={"augment": [{"type": "mixup"}]}),
            "the input is tokens",
        ),
        (
            make_spec(
                dataset={"inputs": ["text"], "text": {"type": "tf_idf", "columns": ["text"]}},
                training={"augment": [{"type": "noise"}]},
            ),
            "sparse",
        ),
    ],
)
def test_an_augmentation_of_other_rows_is_refused(ask: Ask, spec: Any, part: str) -> None:
    text = spec.dataset.text is not None
    with pytest.raises(UserError, match=part):
        run(ask(spec, make_text_rows() if text else make_rows()), Recorder())
