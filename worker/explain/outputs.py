"""What of a model's outputs is explained, one number each. P rows, O outputs, C classes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from worker.data.targets import ClassTarget, CountTarget, ManyTarget, Target
from worker.engine.errors import UserError
from worker.explain.view import tidy

Select = Callable[[Tensor], Tensor]  # outputs (P, O) -> (P,)


@dataclass(frozen=True)
class Explained:
    """`meaning` says in words what `select` takes out of the outputs."""

    target: str
    meaning: str
    predicted: str | float
    select: Select


def choose_explained(target: Target, outputs: Tensor) -> Explained:
    """`outputs` (1, O) are those of the row that is explained."""
    if isinstance(target, ManyTarget):
        raise UserError(
            f"Explanations are of one target, and here are {len(target.names)}.",
            hint="Leave evaluation.explanations out, or predict one column alone.",
        )
    answer = target.decode(outputs)
    if not isinstance(target, ClassTarget):
        predicted = tidy(answer.item())
        if isinstance(target, CountTarget):
            meaning = "the logarithm of the expected count"
            return Explained(target.name, meaning, predicted, take_first)
        return Explained(target.name, "the predicted value", predicted, target.decode)
    number = int(answer.argmax())
    meaning = "the logit of the predicted class"
    select = partial(take_class, number=number)
    return Explained(target.name, meaning, target.classes[number], select)


def take_first(outputs: Tensor) -> Tensor:
    return outputs[:, 0]


def take_class(outputs: Tensor, number: int) -> Tensor:
    """One logit speaks for the second of two classes, and so against the first."""
    if outputs.shape[1] > 1:
        return outputs[:, number]
    return outputs[:, 0] if number else -outputs[:, 0]


def read_truth(target: Target, value: Tensor) -> Any:
    """None: a class that training has not seen."""
    if not isinstance(target, ClassTarget):
        return tidy(value.item())
    number = int(value)
    return target.classes[number] if number < len(target.classes) else None
