"""What a model is trained to predict: to numbers, and back from its outputs to answers.

Travels inside every bundle. N rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.data.columns import measure


@dataclass(frozen=True)
class ClassTarget:
    """Class labels, sorted: as numbers where all are whole numbers, else as text."""

    name: str
    classes: tuple[str, ...]

    def encode(self, labels: list[str]) -> Tensor:
        """(N,) class numbers; a label that training has not seen gets the number C."""
        numbers = {label: number for number, label in enumerate(self.classes)}
        unknown = len(self.classes)
        return torch.tensor([numbers.get(label, unknown) for label in labels], dtype=torch.long)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) or (N, C) logits -> (N, C) probabilities."""
        if outputs.shape[1] > 1:
            return outputs.softmax(1)
        second = outputs.sigmoid()
        return torch.cat([1 - second, second], 1)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "classes", "classes": list(self.classes)}


@dataclass(frozen=True)
class ValueTarget:
    """A number, trained on as (y - mean) / std."""

    name: str
    mean: float
    std: float

    def encode(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std  # (N,)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) standardised -> (N,) in the target's own units."""
        return outputs.squeeze(1).double() * self.std + self.mean

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "value", "mean": self.mean, "std": self.std}


@dataclass(frozen=True)
class CountTarget(ValueTarget):
    """A number that is not negative, trained on as it is; the model predicts its logarithm."""

    def encode(self, values: Tensor) -> Tensor:
        return values  # (N,)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) logarithms -> (N,) expected counts."""
        return outputs.squeeze(1).double().exp()

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "kind": "count"}


Target = ClassTarget | ValueTarget


def fit_classes(name: str, labels: list[str]) -> ClassTarget:
    seen = set(labels)
    whole = all(label.removeprefix("-").isdecimal() for label in seen)
    return ClassTarget(name, tuple(sorted(seen, key=int) if whole else sorted(seen)))


def fit_value(name: str, values: Tensor) -> ValueTarget:
    mean, std = measure(values)
    constant = values.min() == values.max()
    return ValueTarget(name, values[0].item() if constant else mean, 1.0 if constant else std)


def read_target(state: dict[str, Any]) -> Target:
    if state["kind"] == "classes":
        return ClassTarget(state["name"], tuple(state["classes"]))
    kind = CountTarget if state["kind"] == "count" else ValueTarget
    return kind(state["name"], state["mean"], state["std"])
