"""The learning-rate range test: train a copy while the rate rises, and see what the loss does.

Smith, "Cyclical learning rates for training neural networks", 2017. The rate that is chosen is a
tenth of the one at which the smoothed loss was lowest: there training is already near to
diverging. bench/results/lr_finder.md has it beside the other usual rule, the steepest descent.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from statistics import fmean

import torch
from torch import Tensor

from app.specs.lr_finder import LRFinderSpec
from worker.engine.build import build_optimizer
from worker.engine.reporter import Stop
from worker.engine.trainer import Trainer

Points = list[list[float]]  # [rate, loss] of each step
SAFETY = 10
SMOOTHED_SHARE = 0.05  # of all steps, to each side
NOTHING_FOUND = (
    "The learning-rate finder saw no loss below the first one, so training.optimizer.lr stays as "
    "it is. Lower training.lr_finder.min, or look at the data."
)


def tune_rate(trainer: Trainer) -> Stop | None:
    """Find the peak of the schedule, if the spec asks for it and no checkpoint has brought it.

    Nothing else of the trainer changes, and no random number is used up.
    """
    spec = trainer.spec.training.lr_finder
    if spec is None:
        return None
    found = trainer.found
    if found is None:
        points = explore(trainer, spec)
        if isinstance(points, Stop):
            return points
        found = {"chosen": choose_rate(points, spec) or trainer.peak_lr, "points": points}
        trainer.use_rate(found)
        trainer.reporter.event("lr_finder", found)
    if choose_rate(found["points"], spec) is None:  # said by every attempt, as other warnings are
        trainer.warnings.add(NOTHING_FOUND)
    return None


def explore(trainer: Trainer, spec: LRFinderSpec) -> Points | Stop:
    """Up to `spec.steps` points; fewer where the loss left all bounds."""
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        return sweep(make_scout(trainer, spec), spec)


def make_scout(trainer: Trainer, spec: LRFinderSpec) -> Trainer:
    """The same training of a copy of the model, with the rate of the test."""
    model = copy.deepcopy(trainer.model).train()
    return replace(
        trainer,
        model=model,
        optimizer=build_optimizer(trainer.spec.training, model),
        schedule=lambda step: find_rate(spec, step) / trainer.spec.training.optimizer.lr,
        average=None,
    )


def find_rate(spec: LRFinderSpec, step: int) -> float:
    return spec.min * math.pow(spec.max / spec.min, step / (spec.steps - 1))


def sweep(scout: Trainer, spec: LRFinderSpec) -> Points | Stop:
    points: Points = []
    for inputs, targets in repeat_epochs(scout):
        if (stop := scout.reporter.stop) is not None:
            return stop
        loss = scout.train_step(inputs, targets).item()
        if not math.isfinite(loss):
            break
        points.append([find_rate(spec, scout.step), loss])
        scout.step += 1
        if scout.step == spec.steps or has_diverged(points, measure_width(spec)):
            break
    return points


def repeat_epochs(scout: Trainer) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in count():
        yield from scout.batches.epoch(epoch, 0)


def measure_width(spec: LRFinderSpec) -> int:
    return max(1, round(SMOOTHED_SHARE * spec.steps))


def has_diverged(points: Points, width: int) -> bool:
    """Whether the latest losses lie above the first ones by more than these were above the lowest
    one, or above zero: losses of counts may be negative."""
    losses = [loss for _, loss in points]
    first, latest = fmean(losses[:width]), fmean(losses[-width:])
    return latest > first + max(abs(first), first - min(losses))


def choose_rate(points: Points, spec: LRFinderSpec) -> float | None:
    """None where no loss was lower than the first."""
    if not points:
        return None
    smoothed = smooth([loss for _, loss in points], measure_width(spec))
    lowest = min(range(len(smoothed)), key=lambda place: smoothed[place])
    return max(spec.min, points[lowest][0] / SAFETY) if lowest else None


def smooth(losses: Sequence[float], width: int) -> list[float]:
    """Means over `width` neighbours to each side, of those that are there."""
    return [
        fmean(losses[max(0, place - width) : place + width + 1]) for place in range(len(losses))
    ]
