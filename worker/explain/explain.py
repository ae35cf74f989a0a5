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
from worker.explain.outputs import Explained, choose_explained, list_targets
from worker.explain.sequence import SequenceView
from worker.explain.table import TableView
from worker.explain.tokens import TokensView
from worker.explain.view import Question, Shown, View, tidy
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
    targets = list_targets(subject.features.target)
    views = {name: choose_view(subject.model, subject.features) for name in targets}
    attribute = registry.build_attribution(spec)
    rows: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    with explaining(subject.model):
        for number in draw_rows(len(subject.scorer.part), spec.rows, subject.seed):
            for shown in explain_row(attribute, views, subject, number):
                if shown.picture is not None:
                    name = name_picture(spec.type, number, targets, shown.facts["target"])
                    shown.facts["picture"] = name
                    files[name] = shown.picture
                rows.append(shown.facts)
    facts = {
        "type": spec.type,
        "part": subject.scorer.name,
        "explained_rows": len({row["row"] for row in rows}),
        "largest_delta": max((abs(row["delta"]) for row in rows), default=None),
        **summarise(views),
    }
    empty = views[targets[0]].empty
    document = {"meaning": MEANING, "empty": empty, "steps": spec.steps, **facts, "rows": rows}
    files[f"{spec.type}.json"] = to_json(document).encode()
    described = [describe_file(*file) for file in sorted(files.items())]
    return Explanation(facts | {"files": described}, files)


def name_picture(method: str, number: int, targets: list[str], target: str) -> str:
    """Names of columns are no names of files."""
    which = f"-{targets.index(target) + 1}" if len(targets) > 1 else ""
    return f"{method}-{number + 1}{which}.png"


def summarise(views: dict[str, View]) -> dict[str, list[dict[str, Any]]]:
    """Each kind of entry, such as columns, over all targets; largest first for each of them."""
    summary: dict[str, list[dict[str, Any]]] = {}
    for target, view in views.items():
        for kind, entries in view.summarise().items():
            named = [{"target": target, **entry} for entry in entries]
            summary.setdefault(kind, []).extend(named)
    return summary


def choose_view(model: nn.Module, features: Features) -> View:
    whole: Any = features.whole
    if whole is None:
        return TableView(model, features.table)
    if whole.takes == "tokens":
        return TokensView(model, whole)
    if whole.takes == "image":
        return ImageView(model)
    return SequenceView(model, whole.means, whole.stds)


def draw_rows(rows: int, wanted: int, seed: int) -> list[int]:
    """Places counted from 0, in order."""
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = torch.randperm(rows, generator=generator)[:wanted].sort().values.tolist()
    return drawn


def take_row(rows: Rows, number: int) -> Tensor:
    """(1, ...)"""
    place = torch.tensor([number], device=rows.device)
    return next(iter(rows.index_select(0, place).split(1))).to_dense()


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


def explain_row(
    attribute: Attribute, views: dict[str, View], subject: Subject, number: int
) -> Iterator[Shown]:
    """One after the other for each target."""
    part = subject.scorer.part
    row = take_row(part.inputs, number)
    question = next(iter(views.values())).ask(row)
    with torch.no_grad():
        ends = torch.cat([question.forward(question.row), question.forward(question.empty)])
    target = subject.features.target
    for explained in choose_explained(target, ends[:1], part.targets[number]):
        attributions = answer(attribute, subject, question, explained)
        if not attributions.isfinite().all():
            message = f"Row {number + 1} is not explained: its gradients are not finite."
            subject.scorer.warnings.add(message)
            continue
        shown = views[explained.target].show(row, attributions)
        facts = {"row": number + 1, **describe(explained, ends, attributions), **shown.facts}
        yield Shown(facts, shown.picture)


def answer(
    attribute: Attribute, subject: Subject, question: Question, explained: Explained
) -> Tensor:
    def forward(points: Tensor) -> Tensor:
        subject.attend()
        return explained.select(question.forward(points))

    points = min(subject.batch_size, CHUNK_NUMBERS // question.row.numel())
    return attribute(forward, question.row, question.empty, max(1, points))


def describe(explained: Explained, ends: Tensor, attributions: Tensor) -> dict[str, Any]:
    """`ends` (2, O) are the outputs of the row and of the empty one."""
    output, empty_output = explained.select(ends).double().tolist()
    return {
        "target": explained.target,
        "true": explained.true,
        "predicted": explained.predicted,
        "explained": explained.meaning,
        "output": tidy(output),
        "empty_output": tidy(empty_output),
        "delta": tidy(attributions.double().sum().item() - (output - empty_output)),
    }
