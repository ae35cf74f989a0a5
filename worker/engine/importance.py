"""How much worse a model does once one input column is shuffled (Breiman, 2001).

The columns that a model leans on show the largest change. N rows, F encoded inputs.
"""

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from worker.data.features import Features
from worker.engine.errors import UserError
from worker.engine.evaluate import Scorer, predict

REPEATS = 5


def measure_importance(
    model: nn.Module,
    scorer: Scorer,
    features: Features,
    seed: int,
    attend: Callable[[], None],
) -> dict[str, Any]:
    """For each column and score: the mean change over some shuffles, and its deviation.

    `attend` is called before each shuffle, and may raise what ends all this.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs = scorer.part.inputs
    if not isinstance(inputs, Tensor) or features.whole is not None:
        raise UserError(
            "Permutation importance shuffles columns of numbers and categories; here is text.",
            hint="Leave evaluation.importance out.",
        )
    orders = [torch.randperm(len(inputs), generator=generator) for _ in range(REPEATS)]

    def score(block: slice, order: Tensor) -> dict[str, float]:
        attend()
        return scorer.score_outputs(predict(model, shuffle(inputs, block, order)))

    base = scorer.score_outputs(predict(model, inputs))
    columns: list[dict[str, Any]] = []
    start = 0
    for column in features.table:
        block = slice(start, start + column.width)
        scores = [score(block, order) for order in orders]
        columns.append({"column": column.name, "change": compare(base, scores)})
        start += column.width
    columns.sort(key=lambda each: -abs(each["change"]["loss"]["mean"]))
    return {"method": "permutation", "part": scorer.name, "repeats": REPEATS, "columns": columns}


def shuffle(inputs: Tensor, block: slice, order: Tensor) -> Tensor:
    """All numbers of one column move together. (N, F) -> (N, F)"""
    shuffled = inputs.clone()
    shuffled[:, block] = inputs[order.to(inputs.device), block]
    return shuffled


def compare(base: dict[str, float], scores: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    changes = {
        name: [score[name] - base[name] for score in scores]
        for name in base
        if all(name in score for score in scores)
    }
    return {
        name: {"mean": statistics.fmean(each), "std": statistics.pstdev(each)}
        for name, each in changes.items()
    }
