"""The evaluation of a finished training run."""

import copy
import math
from functools import partial
from typing import Any

from torch import nn

from worker.data.prepare import Prepared
from worker.engine.breakdown import describe_classes, describe_outputs
from worker.engine.errors import NonFiniteLoss
from worker.engine.evaluate import Evaluation, Scorer, describe_baseline
from worker.engine.importance import measure_importance
from worker.engine.reporter import heed_stop
from worker.engine.trainer import Trainer, refuse_broken
from worker.engine.trainlog import TAME
from worker.explain.explain import Subject, explain
from worker.explain.files import write_explanations


def evaluate(trainer: Trainer, data: Prepared, test: Scorer | None) -> Evaluation:
    """Measure the best weights, or the last where no best is kept; report the test/* points.

    Raises Stopped, before anything is reported.
    """
    model, step = choose_model(trainer)
    refuse_broken(model, step)
    validation = trainer.validation.score(model) if trainer.validation else {}
    tested = test.score(model) if test else None
    if tested is not None and not math.isfinite(tested["loss"]):
        raise NonFiniteLoss(f"The test loss is {tested['loss']}.", hint=TAME)
    measured = test or trainer.validation
    matrix = test.confuse(model) if test else None
    evaluation = {
        "task": trainer.spec.model.tasks()[0],
        "checkpoint_step": step,
        "monitor": trainer.spec.checkpoints.monitor if trainer.best_snapshot else None,
        "validation": validation,
        "test": tested,
        "rows": {
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
        },
        "classes": list(data.classes),
        "confusion_matrix": matrix,
        "per_class": describe_classes(data.classes, matrix) if matrix else None,
        "per_output": describe_outputs(test, model) if test else None,
        "baseline": describe_baseline(measured, data.train) if measured else None,
        **explain_model(trainer, model, measured, data),
        "lr_finder": trainer.found,
        "cross_validation": None,  # it comes after the model is saved
        "warnings": trainer.warnings.messages,
    }
    if tested is not None:  # last: what is stopped before is measured again
        trainer.log.add_scores("test", trainer.step, tested)
        trainer.log.report()
    return evaluation


def explain_model(
    trainer: Trainer, model: nn.Module, scorer: Scorer | None, data: Prepared
) -> dict[str, Any]:
    """What was asked for of it; the files first, then what speaks of them. Raises Stopped."""
    if scorer is None:
        return {"importance": None, "explanations": []}
    spec, training = trainer.spec.evaluation, trainer.spec.training
    attend = partial(heed_stop, trainer.reporter)
    importance = None
    if spec.importance is not None:
        importance = measure_importance(model, scorer, data.features, training.seed, attend)
    subject = Subject(model, scorer, data.features, training.seed, training.batch_size, attend)
    explanations = [explain(each, subject) for each in spec.explanations]
    files = {name: file for each in explanations for name, file in each.files.items()}
    write_explanations(trainer.writer.folder, files)
    return {"importance": importance, "explanations": [each.facts for each in explanations]}


def choose_model(trainer: Trainer) -> tuple[nn.Module, int]:
    """The trainer keeps its own weights: its last state is still to be saved."""
    if trainer.best_snapshot is None or trainer.best.step in (None, trainer.step):
        return trainer.model, trainer.step
    model = copy.deepcopy(trainer.model)
    model.load_state_dict(trainer.best_snapshot.model)
    assert trainer.best.step is not None
    return model, trainer.best.step
