"""Trains and measures a model on each fold, after the job's own model is saved.

A fold is a training of its own: preparation, weights and learning rate know its training rows
alone. One that was finished is kept on disk; one that was interrupted starts again. Nothing in it
depends on the job's model or on other folds, so both ways give the same figures.
"""

import json
import math
from dataclasses import replace
from statistics import fmean, pstdev
from time import monotonic
from typing import Any

from worker.data.folds import make_folds
from worker.data.load import Loaded, load
from worker.data.parts import split_columns
from worker.data.prepare import encode_parts
from worker.data.split import Split
from worker.engine.build import (
    build_loss,
    build_model,
    build_scorer,
    build_trainer,
    count_outputs,
    move,
)
from worker.engine.checkpoint import InvalidCheckpoint, read_summed, write_summed
from worker.engine.device import choose_device, make_deterministic
from worker.engine.errors import NonFiniteLoss, TrainingError
from worker.engine.evaluate import Evaluation
from worker.engine.lr_finder import tune_rate
from worker.engine.report import choose_model
from worker.engine.reporter import Point, Reporter, SavedCheckpoint, Stop
from worker.engine.request import Request, Result
from worker.engine.snapshot import Snapshot
from worker.engine.trainer import Place, refuse_broken
from worker.engine.trainlog import TAME
from worker.engine.warnings import Warnings
from worker.engine.writer import CheckpointWriter

Document = dict[str, Any]  # what is known of a fold once it is measured
FILE = "fold.json"


def cross_validate(
    request: Request, evaluation: Evaluation, reporter: Reporter, place: Place
) -> Result:
    """`place` is where the training of the job's own model has ended."""
    quiet = FoldReporter(reporter, place)
    loaded = load(request, Warnings(quiet))
    folds = make_folds(request, loaded.columns, split_columns(request, loaded.columns))
    documents: list[Document] = []
    for number, split in enumerate(folds, start=1):
        if reporter.stop is not None:
            return Result(reporter.stop)
        quiet.begin(len(folds) - number)
        document = read_fold(request, number)
        if document is None:
            outcome = measure_fold(request, loaded, split, quiet)
            if isinstance(outcome, Stop):
                return Result(outcome)
            document = {"fold": number, **outcome}
            write_fold(request, document)
        report_fold(reporter, document, len(folds))
        documents.append(document)
    reporter.phase("exporting")
    return Result(None, evaluation=complete(evaluation, documents))


def complete(evaluation: Evaluation, documents: list[Document]) -> Evaluation:
    failed = [
        f"Fold {each['fold']} could not be measured: {each['error']}"
        for each in documents
        if each["error"] is not None
    ]
    return {
        **evaluation,
        "cross_validation": {"folds": documents, **summarize(documents)},
        "warnings": evaluation["warnings"] + failed,
    }


def summarize(documents: list[Document]) -> dict[str, dict[str, float]]:
    """Over the folds where a score is defined; the deviation is that of a population."""
    values: dict[str, list[float]] = {}
    for document in documents:
        for name, value in document["scores"].items():
            values.setdefault(name, []).append(value)
    return {
        "mean": {name: fmean(each) for name, each in values.items()},
        "std": {name: pstdev(each) for name, each in values.items()},
    }


def report_fold(reporter: Reporter, document: Document, folds: int) -> None:
    """Told by every attempt: the points of an earlier one may be hidden by now."""
    number, scores = document["fold"], document["scores"]
    if scores:
        reporter.metrics([(f"fold/{name}", number, value) for name, value in scores.items()])
    reporter.event("fold", {"fold": number, "folds": folds, "scores": scores})


# ---------------------------------------------------------------- one fold


def measure_fold(
    request: Request, loaded: Loaded, split: Split, reporter: "FoldReporter"
) -> Document | Stop:
    """A fold that cannot be trained says why: the job's own model is none the worse for it."""
    warnings = Warnings(reporter)
    scores: dict[str, float] | Stop
    error = None
    try:
        scores = train_fold(request, loaded, split, warnings)
    except TrainingError as failure:
        if reporter.stop is not None:  # it looked closer than a fold that goes on
            return reporter.stop
        scores, error = {}, str(failure)
    if isinstance(scores, Stop):
        return scores
    rows = {
        "train": len(split.train),
        "validation": len(split.validation),
        "held_out": len(split.test),
    }
    return {"rows": rows, "scores": scores, "error": error, "warnings": warnings.messages}


def train_fold(
    request: Request, loaded: Loaded, split: Split, warnings: Warnings
) -> dict[str, float] | Stop:
    """The scores on the rows held out. Raises TrainingError."""
    make_deterministic(threads=1)
    device = choose_device(request.spec.resources.device)
    alone = replace(loaded, test_columns=None)
    data = move(encode_parts(request, alone, split, warnings), device)
    loss = build_loss(request, data)
    model = build_model(request, data, count_outputs(loss, data.features.target))
    trainer = build_trainer(request, data, model, loss, warnings)
    trainer.writer = NoWriter(request.folder, warnings.reporter)
    trainer.save_at = math.inf
    held_out = build_scorer("test", request, data, loss, warnings)
    assert held_out is not None
    if (stop := tune_rate(trainer)) is not None or (stop := trainer.train()) is not None:
        return stop
    with trainer.averaged():
        best, step = choose_model(trainer)
        refuse_broken(best, step)
        scores = replace(held_out, name="fold").score(best)
    if not math.isfinite(scores["loss"]):
        raise NonFiniteLoss(f"The loss is {scores['loss']} on the rows held out.", hint=TAME)
    return scores


class NoWriter(CheckpointWriter):
    """Snapshots stay in memory, for the best of them to be found."""

    def submit(self, snapshot: Snapshot, best: bool) -> None:
        pass


class FoldReporter:
    """Passes orders to stop on to a fold, and of its reports the time that is left alone."""

    def __init__(self, reporter: Reporter, place: Place) -> None:
        self.reporter, self.place = reporter, place
        self.folds_left, self.began_at = 0, monotonic()

    def begin(self, folds_left: int) -> None:
        """Of a fold that has `folds_left` others behind it."""
        self.folds_left, self.began_at = folds_left, monotonic()

    @property
    def stop(self) -> Stop | None:
        return self.reporter.stop

    def progress(
        self,
        step: int,  # noqa: ARG002
        total_steps: int,  # noqa: ARG002
        epoch: float,  # noqa: ARG002
        eta_seconds: float | None,
    ) -> None:
        if eta_seconds is not None:
            whole = monotonic() - self.began_at + eta_seconds
            self.reporter.progress(*self.place, eta_seconds + self.folds_left * whole)

    def refuse(self, reason: str) -> None: ...
    def phase(self, name: str) -> None: ...
    def metrics(self, points: list[Point]) -> None: ...
    def checkpoint(self, saved: SavedCheckpoint) -> None: ...
    def event(self, kind: str, data: dict[str, Any]) -> None: ...


# ---------------------------------------------------------------- on disk


def write_fold(request: Request, document: Document) -> None:
    folder = request.folder / f"fold{document['fold']}"
    write_summed(folder, {FILE: json.dumps(document, allow_nan=False).encode()})


def read_fold(request: Request, number: int) -> Document | None:
    """As any attempt has left it, if one did. Attempts that overlap leave the same."""
    for folder in sorted(request.folder.parent.glob(f"a*/fold{number}")):
        try:
            document: Document = json.loads(read_summed(folder)[FILE])
        except (InvalidCheckpoint, OSError, ValueError, KeyError):
            continue
        return document
    return None
