"""What a model is trained to predict: to numbers, and back from its outputs to answers.

Travels inside every bundle. N rows, C classes, K targets of a model that has several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.data.columns import measure

# ---------------------------------------------------------------- one target


@dataclass(frozen=True)
class ClassTarget:
    """Class labels, sorted: as numbers where all are whole numbers, else as text."""

    name: str
    classes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

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

    def answer(self, outputs: Tensor) -> list[str]:
        """For each row its most likely class."""
        return [self.classes[number] for number in self.decode(outputs).argmax(1).tolist()]

    def share(self, outputs: Tensor) -> list[dict[str, float]]:
        """For each row the probability of every class."""
        return [dict(zip(self.classes, row, strict=True)) for row in self.decode(outputs).tolist()]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "classes", "classes": list(self.classes)}


@dataclass(frozen=True)
class ValueTarget:
    """A number, trained on as (y - mean) / std."""

    name: str
    mean: float
    std: float

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def encode(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std  # (N,)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, 1) standardised -> (N,) in the target's own units."""
        return outputs.squeeze(1).double() * self.std + self.mean

    def answer(self, outputs: Tensor) -> list[float]:
        answers: list[float] = self.decode(outputs).tolist()
        return answers

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


# ---------------------------------------------------------------- several


@dataclass(frozen=True)
class LabelsTarget:
    """Several columns of two classes each: a row may have any of them."""

    labels: tuple[ClassTarget, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, K) logits -> (N, K, 2) probabilities."""
        second = outputs.sigmoid()
        return torch.stack([1 - second, second], 2)

    def answer(self, outputs: Tensor) -> list[dict[str, str]]:
        """For each row the more likely class of every column."""
        return [
            {label.name: label.classes[n] for label, n in zip(self.labels, row, strict=True)}
            for row in self.decode(outputs).argmax(2).tolist()
        ]

    def share(self, outputs: Tensor) -> list[dict[str, float]]:
        """For each row and column the probability of the second class, such as 1 of 0 and 1."""
        shares = self.decode(outputs)[:, :, 1].tolist()
        return [dict(zip(self.names, row, strict=True)) for row in shares]

    def to_json(self) -> dict[str, Any]:
        return {"kind": "labels", "labels": [label.to_json() for label in self.labels]}


@dataclass(frozen=True)
class ValuesTarget:
    """Several numbers, each trained on as (y - mean) / std."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]

    def encode(self, values: Tensor) -> Tensor:
        return (values - values.new_tensor(self.means)) / values.new_tensor(self.stds)  # (N, K)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, K) standardised -> (N, K), each in its own units."""
        values = outputs.double()
        return values * values.new_tensor(self.stds) + values.new_tensor(self.means)

    def answer(self, outputs: Tensor) -> list[dict[str, float]]:
        return [dict(zip(self.names, row, strict=True)) for row in self.decode(outputs).tolist()]

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": "values",
            "names": list(self.names),
            "means": list(self.means),
            "stds": list(self.stds),
        }


@dataclass(frozen=True)
class CountsTarget(ValuesTarget):
    """Several numbers that are not negative; the model predicts their logarithms."""

    def encode(self, values: Tensor) -> Tensor:
        return values  # (N, K)

    def decode(self, outputs: Tensor) -> Tensor:
        """(N, K) logarithms -> (N, K) expected counts."""
        return outputs.double().exp()

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "kind": "counts"}


NumberTarget = ValueTarget | ValuesTarget
ManyTarget = LabelsTarget | ValuesTarget
Target = ClassTarget | LabelsTarget | ValueTarget | ValuesTarget


# ---------------------------------------------------------------- fitting and reading


def fit_classes(name: str, labels: list[str]) -> ClassTarget:
    seen = set(labels)
    whole = all(label.removeprefix("-").isdecimal() for label in seen)
    return ClassTarget(name, tuple(sorted(seen, key=int) if whole else sorted(seen)))


def fit_value(name: str, values: Tensor) -> ValueTarget:
    mean, std = measure(values)
    constant = values.min() == values.max()
    return ValueTarget(name, values[0].item() if constant else mean, 1.0 if constant else std)


def join_values(columns: list[ValueTarget]) -> ValuesTarget:
    """All of one kind."""
    names, means, stds = zip(*((each.name, each.mean, each.std) for each in columns), strict=True)
    kind = CountsTarget if isinstance(columns[0], CountTarget) else ValuesTarget
    return kind(names, means, stds)


def read_target(state: dict[str, Any]) -> Target:
    match state["kind"]:
        case "classes":
            return ClassTarget(state["name"], tuple(state["classes"]))
        case "labels":
            return LabelsTarget(
                tuple(ClassTarget(each["name"], tuple(each["classes"])) for each in state["labels"])
            )
        case "values" | "counts":
            several = CountsTarget if state["kind"] == "counts" else ValuesTarget
            return several(tuple(state["names"]), tuple(state["means"]), tuple(state["stds"]))
    kind = CountTarget if state["kind"] == "count" else ValueTarget
    return kind(state["name"], state["mean"], state["std"])
