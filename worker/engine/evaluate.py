"""Measures a model on rows it was not trained on. N rows, F inputs, O outputs, C classes."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.specs.training import MetricName
from worker import registry
from worker.data.prepare import Part
from worker.data.rows import Rows, count_numbers
from worker.data.targets import (
    ClassTarget,
    CountsTarget,
    CountTarget,
    LabelsTarget,
    NumberTarget,
    Target,
)
from worker.engine.warnings import Warnings
from worker.losses import Loss

Evaluation = dict[str, Any]  # strict JSON

CHUNK_NUMBERS = 4 * 2**20  # inputs given to the model at once
# Fewer, as a convolution makes dozens of numbers of each: 64 rows of 28 x 28 pixels at once are
# measured in 3/5 of the time of 170.
CHUNK_PIXELS = 2**16
JOINT_METRICS = ("exact_match",)  # of all targets at once
SMALL = 1e-6  # stands for a count of 0, which has no logarithm
CONFUSION_CLASSES = 200  # above this a confusion matrix helps nobody


@dataclass(frozen=True)
class Scorer:
    """Scores outputs of a model on one part of the data; made once, used every epoch."""

    name: str
    part: Part
    target: Target
    loss: Loss
    metrics: tuple[MetricName, ...]
    warnings: Warnings

    def score(self, model: nn.Module) -> dict[str, float]:
        """Loss and metrics. One that is undefined here is left out, with a warning.

        A loss that is not finite is kept: the caller must look.
        """
        return self.score_outputs(predict(model, self.part.inputs))

    def score_outputs(self, outputs: Tensor) -> dict[str, float]:
        answers = self.target.decode(outputs)
        scores = [measure(name, answers, self.part.targets) for name in self.metrics]
        values = torch.stack(
            [self.measure_loss(outputs).double(), *(s.double() for s in scores)]
        ).tolist()
        found = dict(zip(("loss", *self.metrics), values, strict=True))
        for name in self.metrics:
            if not math.isfinite(found[name]):
                del found[name]
                self.warnings.add(f"{self.name}/{name} is undefined on these rows; left out.")
        return found

    def measure_loss(self, outputs: Tensor) -> Tensor:
        targets = self.part.targets
        if isinstance(self.target, ClassTarget):
            known = targets < len(self.target.classes)  # no loss is defined for a class unseen
            outputs, targets = outputs[known], targets[known]
        elif isinstance(self.target, NumberTarget):
            targets = self.target.encode(targets)
        return self.loss.compute(outputs, self.loss.shape_targets(targets))

    def confuse(self, model: nn.Module) -> list[list[int]] | None:
        """Rows: true class; columns: predicted. Rows of classes unseen in training are left out."""
        if not isinstance(self.target, ClassTarget):
            return None
        size = len(self.target.classes)
        if size > CONFUSION_CLASSES:
            self.warnings.add(f"No confusion matrix: {size} classes are too many for one.")
            return None
        chosen = self.target.decode(predict(model, self.part.inputs)).argmax(1)
        return confuse(chosen, self.part.targets, size)


def confuse(chosen: Tensor, targets: Tensor, classes: int) -> list[list[int]]:
    """(N,), (N,) -> (C, C), rows by true class, columns by chosen."""
    known = targets < classes
    cells = targets[known] * classes + chosen[known]
    counts = torch.bincount(cells.cpu(), minlength=classes * classes)
    matrix: list[list[int]] = counts.view(classes, classes).tolist()
    return matrix


def measure(name: MetricName, answers: Tensor, targets: Tensor) -> Tensor:
    """Of several targets: the mean over those for which the metric is defined."""
    if targets.ndim == 1 or name in JOINT_METRICS:
        return registry.find_metric(name)(answers, targets)
    return measure_each(name, answers, targets).nanmean()


def measure_each(name: MetricName, answers: Tensor, targets: Tensor) -> Tensor:
    """(N, K, ...), (N, K) -> (K,)"""
    metric = registry.find_metric(name)
    pairs = zip(answers.unbind(1), targets.unbind(1), strict=True)
    return torch.stack([metric(*pair).double() for pair in pairs])


def predict(model: nn.Module, inputs: Rows) -> Tensor:
    """(N, ...) -> (N, O) float32, without dropout."""
    was_training = model.training
    model.eval()
    pixels = isinstance(inputs, Tensor) and inputs.dtype == torch.uint8
    rows = max(1, (CHUNK_PIXELS if pixels else CHUNK_NUMBERS) // max(1, count_numbers(inputs)))
    with torch.no_grad():
        outputs = torch.cat([model(chunk) for chunk in inputs.split(rows)])
    model.train(was_training)
    return outputs


def guess_outputs(target: Target, loss: Loss, train: Part, rows: int) -> Tensor:
    """What a model would answer that knows the training targets and no inputs: (rows, O)."""
    if isinstance(target, NumberTarget):
        columns = target.encode(train.targets.cpu()).view(len(train), -1).unbind(1)
        return torch.stack([loss.guess(column) for column in columns]).float().expand(rows, -1)
    if isinstance(target, LabelsTarget):
        second = train.targets.cpu().double().sum(0)
        odds = second.clamp(min=0.5) / (len(train) - second).clamp(min=0.5)
        return odds.log().float().expand(rows, -1)
    logits = train.count_classes(len(target.classes)).float().log()
    if loss.outputs(len(target.classes)) == 1:
        logits = logits[1:] - logits[:1]
    return logits.expand(rows, -1)


def repeat_last(target: NumberTarget, last: Tensor) -> Tensor:
    """What a model would output to say that nothing changes: (N,) -> (N, H)"""
    values = last[:, None].expand(-1, len(target.names))
    if isinstance(target, CountTarget | CountsTarget):
        return values.clamp(min=SMALL).log()  # the outputs are logarithms
    return target.encode(values)


def describe_baseline(scorer: Scorer, train: Part) -> dict[str, Any]:
    if scorer.part.last is not None and isinstance(scorer.target, NumberTarget):
        outputs = repeat_last(scorer.target, scorer.part.last)
        return {"kind": "persistence", **scorer.score_outputs(outputs)}
    outputs = guess_outputs(scorer.target, scorer.loss, train, len(scorer.part))
    numbers = isinstance(scorer.target, NumberTarget)
    kind = scorer.loss.guess_name if numbers else "majority_class"
    return {"kind": kind, **scorer.score_outputs(outputs.to(scorer.part.targets.device))}
