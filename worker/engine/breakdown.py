"""What a score over all rows and targets hides: how each class fares, and each target.

N rows, K targets.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import nn

from worker.data.targets import ClassTarget, LabelsTarget, ManyTarget
from worker.engine.evaluate import JOINT_METRICS, Scorer, confuse, measure_each, predict


def describe_classes(classes: Sequence[str], matrix: list[list[int]]) -> list[dict[str, Any]]:
    """Null where undefined: a precision of what is never predicted, a recall of what never occurs.

    Rows of classes unseen in training are in no cell of the matrix.
    """
    table = []
    for number, name in enumerate(classes):
        right, support = matrix[number][number], sum(matrix[number])
        predicted = sum(row[number] for row in matrix)
        table.append(
            {
                "class": name,
                "precision": right / predicted if predicted else None,
                "recall": right / support if support else None,
                "f1": 2 * right / (support + predicted) if support + predicted else None,
                "support": support,
            }
        )
    return table


def describe_outputs(scorer: Scorer, model: nn.Module) -> list[dict[str, Any]] | None:
    """The metrics of each target, where there are several; null where undefined."""
    target, targets = scorer.target, scorer.part.targets
    if not isinstance(target, ManyTarget):
        return None
    answers = target.decode(predict(model, scorer.part.inputs))
    names = [name for name in scorer.metrics if name not in JOINT_METRICS]
    scores = {name: measure_each(name, answers, targets).tolist() for name in names}
    table: list[dict[str, Any]] = [
        {"column": column}
        | {name: each[k] if math.isfinite(each[k]) else None for name, each in scores.items()}
        for k, column in enumerate(target.names)
    ]
    if isinstance(target, LabelsTarget):
        chosen = answers.argmax(2)
        for k, (label, entry) in enumerate(zip(target.labels, table, strict=True)):
            entry |= describe_label(label, confuse(chosen[:, k], targets[:, k], 2))
    return table


def describe_label(label: ClassTarget, matrix: list[list[int]]) -> dict[str, Any]:
    """Precision, recall, f1 and support are those of the second class."""
    _, second = describe_classes(label.classes, matrix)
    second.pop("class")
    return {"classes": list(label.classes), **second, "confusion_matrix": matrix}
