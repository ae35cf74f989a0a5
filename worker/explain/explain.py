"""Explanations of single predictions, as files beside those of the model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from app.specs.explanations import ExplanationSpec
from worker import registry
from worker.attributions import Attribute
from worker.data.features import Features
from worker.data.rows import Rows
from worker.engine.evaluate import CHUNK_NUMBERS, Scorer
from worker.explain.files import describe_file
from worker.explain.image import ImageView
from worker.explain.outputs import choose_explained, read_truth
from worker.explain.sequence import SequenceView
from worker.explain.table import TableView
from worker.explain.tokens import TokensView
from worker.explain.view import Shown, View, tidy
from worker.export.bundle import to_json

MEANING = (
    "Each attribution is what this part of the row adds to the explained number. Together they "
    "make its difference from that of the empty row, but for `delta`."
)


@dataclass(frozen=True)
class Subject:
    """A trained model and the rows it was measured on. `attend` is called again and again, and
    may raise what ends all this."""

    model: nn.Module
    scorer: Scorer
    features: Features
    seed: int
    batch_size: int
    attend: Callable[[], None]


@dataclass(frozen=True)
class Explanation:
    facts: dict[str, Any]  # for the evaluation
    files: dict[str, bytes]


def explain(spec: ExplanationSpec, subject: Subject) -> Explanation:
    view = choose_view(subject.model, subject.features)
    attribute, part = registry.build_attribution(spec), subject.scorer.part
    rows: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    with explaining(subject.model):
        for number in draw_rows(len(part), spec.rows, subject.seed):
            shown = explain_row(attribute, view, subject, number)
            if shown is None:
                continue
            if shown.picture is not None:
                shown.facts["picture"] = f"{spec.type}-{number + 1}.png"
                files[shown.facts["picture"]] = shown.picture
            rows.append(shown.facts)
    facts = {
        "type": spec.type,
        "part": subject.scorer.name,
        "explained_rows": len(rows),
        "largest_delta": max((abs(row["delta"]) for row in rows), default=None),
        **view.summarise(),
    }
    document = {"meaning": MEANING, "empty": view.empty, "steps": spec.steps, **facts}
    files[f"{spec.type}.json"] = to_json(document | {"rows": rows}).encode()
    described = [describe_file(*file) for file in sorted(files.items())]
    return Explanation(facts | {"files": described}, files)


def choose_view(model: nn.Module, features: Features) -> View:
    whole: Any = features.whole
    if whole is None:
        return TableView(model, features.table)
    if whole.takes == "tokens":
        return TokensView(model, whole)
    return ImageView(model) if whole.takes == "image" else SequenceView(model, whole.shape[0])


def draw_rows(rows: int, wanted: int, seed: int) -> list[int]:
    """Places counted from 0, in order."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = torch.randperm(rows, generator=generator)[:wanted].sort().values.tolist()
    return drawn


def take_row(rows: Rows, number: int) -> Tensor:
    """(1, ...)"""
    place = torch.tensor([number], device=rows.device)
    return rows.index_select(0, place).split(1)[0].to_dense()


@contextmanager
def explaining(model: nn.Module) -> Iterator[None]:
    """Without dropout; and cuDNN has gradients of recurrent layers for training alone."""
    was_training = model.training
    model.eval()
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    try:
        with torch.backends.cudnn.flags(enabled=not recurrent):
            yield
    finally:
        model.train(was_training)


def explain_row(attribute: Attribute, view: View, subject: Subject, number: int) -> Shown | None:
    target, part = subject.features.target, subject.scorer.part
    row = take_row(part.inputs, number)
    question = view.ask(row)
    with torch.no_grad():
        ends = torch.cat([question.forward(question.row), question.forward(question.empty)])
    explained = choose_explained(target, ends[:1])

    def forward(points: Tensor) -> Tensor:
        subject.attend()
        return explained.select(question.forward(points))

    points = min(subject.batch_size, CHUNK_NUMBERS // question.row.numel())
    attributions = attribute(forward, question.row, question.empty, max(1, points))
    if not attributions.isfinite().all():
        message = f"Row {number + 1} is not explained: its gradients are not finite."
        subject.scorer.warnings.add(message)
        return None
    output, empty_output = explained.select(ends).double().tolist()
    shown = view.show(row, attributions)
    facts = {
        "row": number + 1,
        "target": explained.target,
        "true": read_truth(target, part.targets[number]),
        "predicted": explained.predicted,
        "explained": explained.meaning,
        "output": tidy(output),
        "empty_output": tidy(empty_output),
        "delta": tidy(attributions.double().sum().item() - (output - empty_output)),
        **shown.facts,
    }
    return Shown(facts, shown.picture)
