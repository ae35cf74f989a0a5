"""Carries out one job from its data to its evaluation. Called in a process of its own."""

from pathlib import Path

from torch import nn

from worker.data.prepare import Prepared
from worker.data.stream import prepare_rows
from worker.engine.build import (
    build_loss,
    build_model,
    build_scorer,
    build_trainer,
    count_outputs,
    move,
)
from worker.engine.checkpoint import InvalidCheckpoint, name_checkpoint, read_checkpoint
from worker.engine.crossvalidate import cross_validate
from worker.engine.device import choose_device, make_deterministic
from worker.engine.evaluate import Evaluation, Scorer
from worker.engine.lr_finder import tune_rate
from worker.engine.report import evaluate
from worker.engine.reporter import Reporter, Stop, Stopped
from worker.engine.request import INHERITED, Request, Result
from worker.engine.snapshot import Snapshot
from worker.engine.trainer import Place, Trainer
from worker.engine.warnings import Warnings
from worker.explain.files import adopt_explanations
from worker.export.bundle import write_bundle


def run(request: Request, reporter: Reporter) -> Result:
    """Raises UserError, DataError, NonFiniteLoss; OSError if the last checkpoint fails."""
    try:
        result, place = run_model(request, reporter)
    except Stopped as stopped:  # before training: what was learned is saved already
        return Result(stopped.stop)
    if result.evaluation is None or request.spec.evaluation.cross_validation is None:
        return result
    return cross_validate(request, result.evaluation, reporter, place)


def run_model(request: Request, reporter: Reporter) -> tuple[Result, Place]:
    """All but the folds, which take up as much memory once more."""
    make_deterministic(threads=1)  # data is prepared alike on every machine
    device = choose_device(request.spec.resources.device)
    reporter.phase("preparing")
    warnings = Warnings(reporter)
    data = move(prepare_rows(request, warnings), device)
    loss = build_loss(request, data)
    outputs = count_outputs(loss, data.features.target)
    model = build_model(request, data, outputs)
    write_bundle(request, data.features, outputs)
    trainer = build_trainer(request, data, model, loss, warnings)
    if (known := resume(trainer, request)) is not None:
        if trainer.folds_follow:
            reporter.phase("evaluating")
        return Result(None, evaluation=known), trainer.place
    test = build_scorer("test", request, data, loss, warnings)
    try:
        return train(trainer, data, test), trainer.place
    finally:
        trainer.drain()  # what is on disk is reported, whatever happened


def train(trainer: Trainer, data: Prepared, test: Scorer | None) -> Result:
    if (stop := tune_rate(trainer)) is not None:
        return Result(stop, saved=trainer.saved)
    trainer.reporter.phase("training")
    if (stop := trainer.train()) is not None:
        return Result(stop, saved=trainer.saved)
    trainer.reporter.phase("evaluating")
    evaluation = evaluate_or_stop(trainer, data, test)
    if isinstance(evaluation, Stop):
        return Result(evaluation, saved=trainer.saved)
    if not trainer.folds_follow:
        trainer.reporter.phase("exporting")
    trainer.save(evaluation)
    if failures := trainer.drain():
        raise failures[0]
    return Result(None, evaluation=evaluation)


def evaluate_or_stop(trainer: Trainer, data: Prepared, test: Scorer | None) -> Evaluation | Stop:
    """As for training: the state is saved first, and a pause that cannot save is refused."""
    while True:
        try:
            with trainer.averaged():
                return evaluate(trainer, data, test)
        except Stopped as stopped:
            if trainer.stop_for(stopped.stop):
                return stopped.stop


# ---------------------------------------------------------------- resuming


def resume(trainer: Trainer, request: Request) -> Evaluation | None:
    """Go on from the newest intact checkpoint, if there is one. Answers the evaluation if that was
    known already: then nothing is left to do."""
    for folder in request.resume:
        name = name_checkpoint(folder)
        try:
            snapshot = read_checkpoint(folder)
            refuse_other_model(snapshot, trainer.model)
        except InvalidCheckpoint as error:
            trainer.warnings.add(f"Checkpoint {name} could not be used: {error}.")
            continue
        trainer.resume(snapshot, find_best(trainer, request, folder, snapshot))
        tell_resumed(trainer, name)
        if folder.parent.name == INHERITED:
            trainer.forget_saved()
            return None
        evaluation: Evaluation | None = snapshot.facts["evaluation"]
        if evaluation and not adopt_explanations(request.folder, folder.parent, evaluation):
            return None  # made again, files and all
        return evaluation
    if request.resume:
        tell_resumed(trainer, None)  # what earlier attempts reported is void
    return None


def tell_resumed(trainer: Trainer, name: str | None) -> None:
    facts = {"checkpoint": name, "step": trainer.step, "rows_repeated": 0, "rows_skipped": 0}
    trainer.reporter.event("resumed", facts)


def refuse_other_model(snapshot: Snapshot, model: nn.Module) -> None:
    ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
    theirs = {name: tensor.shape for name, tensor in snapshot.model.items()}
    if ours != theirs:
        raise InvalidCheckpoint("it holds another model")


def find_best(
    trainer: Trainer, request: Request, folder: Path, snapshot: Snapshot
) -> Snapshot | None:
    """The best state so far, which may lie in another checkpoint."""
    best = snapshot.facts["best"]
    if best["step"] is None:
        return None
    if best["step"] == snapshot.facts["step"]:
        best["checkpoint"] = name_checkpoint(folder)
        return snapshot
    place = request.folder.parent / (best["checkpoint"] or "none")
    if folder.parent.name == INHERITED:
        place = folder.with_name(f"s{best['step']}")
    try:
        return read_checkpoint(place)
    except InvalidCheckpoint as error:
        trainer.warnings.add(
            f"The best checkpoint, of step {best['step']}, could not be used: {error}. "
            "The best is chosen among the steps from here on."
        )
        return None
