"""What of a model's outputs is explained, one number per target.

P rows, O outputs, C classes, K targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from worker.data.targets import (
    ClassTarget,
    CountsTarget,
    CountTarget,
    LabelsTarget,
    NumberTarget,
    Target,
)
from worker.explain.view import tidy

MAX_TARGETS = 8  # of many, the first
Select = Callable[[Tensor], Tensor]  # outputs (P, O) -> (P,)


@dataclass(frozen=True)
class Explained:
    """`meaning` says in words what `select` takes out of the outputs."""

    target: str
    meaning: str
    true: str | float | None  # None: a class that training has not seen
    predicted: str | float
    select: Select


def list_targets(target: Target) -> list[str]:
    return list(target.names[:MAX_TARGETS])


def choose_explained(target: Target, outputs: Tensor, truth: Tensor) -> list[Explained]:
    """Of each target, for one row: its `outputs` (1, O), and its `truth` as in a Part."""
    if isinstance(target, ClassTarget):
        return [choose_class(target, outputs, int(truth), slice(None))]
    if isinstance(target, LabelsTarget):
        return [
            choose_class(label, outputs, int(truth[place]), slice(place, place + 1))
            for place, label in enumerate(target.labels[:MAX_TARGETS])
        ]
    truths = truth.view(-1).tolist()
    return [
        choose_value(target, outputs, truths[place], place)
        for place in range(len(list_targets(target)))
    ]


# ---------------------------------------------------------------- classes


def choose_class(target: ClassTarget, outputs: Tensor, truth: int, logits: slice) -> Explained:
    """`logits`: which of the outputs are of this target."""
    number = int(target.decode(outputs[:, logits]).argmax())
    true = target.classes[truth] if truth < len(target.classes) else None
    select = partial(take_class, logits=logits, number=number)
    meaning = "the logit of the predicted class"
    return Explained(target.name, meaning, true, target.classes[number], select)


def take_class(outputs: Tensor, logits: slice, number: int) -> Tensor:
    """One logit speaks for the second of two classes, and so against the first."""
    chosen = outputs[:, logits]
    if chosen.shape[1] > 1:
        return chosen[:, number]
    return chosen[:, 0] if number else -chosen[:, 0]


# ---------------------------------------------------------------- numbers


def choose_value(target: NumberTarget, outputs: Tensor, truth: float, place: int) -> Explained:
    value = partial(take_value, target=target, place=place)
    meaning, select = "the predicted value", value
    if isinstance(target, CountTarget | CountsTarget):
        meaning, select = "the logarithm of the expected count", partial(take_output, place=place)
    predicted = tidy(value(outputs).item())
    return Explained(target.names[place], meaning, tidy(truth), predicted, select)


def take_value(outputs: Tensor, target: NumberTarget, place: int) -> Tensor:
    """In the target's own units."""
    return target.decode(outputs).view(len(outputs), -1)[:, place]


def take_output(outputs: Tensor, place: int) -> Tensor:
    return outputs[:, place]
