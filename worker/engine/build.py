"""Puts the parts of a training run together."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from app.specs.training import MetricName, TrainingSpec
from worker import registry
from worker.data.batches import Batches
from worker.data.blocks import BlockBatches
from worker.data.features import Features
from worker.data.mapped import MappedRows
from worker.data.prepare import Part, Prepared
from worker.data.targets import ClassTarget, LabelsTarget, NumberTarget, Target
from worker.engine.augmenter import build_augmenter
from worker.engine.average import Average
from worker.engine.device import choose_autocast, choose_threads, seed_everything
from worker.engine.errors import UserError
from worker.engine.evaluate import Scorer
from worker.engine.request import Request
from worker.engine.tracking import Best, EarlyStopping
from worker.engine.trainer import Trainer
from worker.engine.trainlog import TrainLog
from worker.engine.warnings import Warnings
from worker.engine.writer import CheckpointWriter
from worker.losses import Loss, compare_labels, weigh_classes
from worker.optimizers import split_decay

POINTS = 1000  # of each train/* series, unless training.log_every is set


def move(data: Prepared, device: torch.device) -> Prepared:
    train, validation, test = (
        Part(
            part.inputs.to(device),
            part.targets.to(device),
            None if part.last is None else part.last.to(device),
        )
        for part in (data.train, data.validation, data.test)
    )
    return Prepared(data.features, train, validation, test)


def build_loss(request: Request, data: Prepared) -> Loss:
    spec = request.spec.training.loss
    if spec == "auto":
        raise UserError("training.loss is still auto.", hint="Name a loss.")
    target, classes = data.features.target, len(data.classes)
    if isinstance(target, LabelsTarget):
        return build_label_loss(request, data, target)
    if spec.type == "binary_cross_entropy" and classes != 2:
        raise UserError(
            f"binary_cross_entropy needs a target of two classes, not {classes}.",
            hint='Set training.loss to {"type": "cross_entropy"}.',
        )
    loss = registry.build_loss(spec)
    if request.spec.training.class_weights is None:
        return loss
    return weigh_classes(loss, find_class_weights(request, data))


def build_label_loss(request: Request, data: Prepared, target: LabelsTarget) -> Loss:
    training = request.spec.training
    assert training.loss != "auto"
    loss, weights = registry.build_loss(training.loss), training.class_weights
    if loss.per_label is None:
        raise UserError(
            f"{training.loss.type} tells the classes of one target, and here are "
            f"{len(target.labels)}.",
            hint='Set training.loss to {"type": "binary_cross_entropy"}.',
        )
    if weights is None:
        return compare_labels(loss)
    if weights != "balanced":
        raise UserError(
            "training.class_weights names classes, and each of several targets has its own.",
            hint='Set it to "balanced", or leave it out.',
        )
    return compare_labels(loss, balance_labels(data.train.targets.cpu()))


def balance_labels(targets: Tensor) -> Tensor:
    """(N, K) -> (K, 2); 1 for a class that no training row has."""
    second = targets.sum(0).double()
    counts = torch.stack([len(targets) - second, second], 1)
    return torch.where(counts > 0, len(targets) / (2 * counts), 1.0).float()


def count_outputs(loss: Loss, target: Target) -> int:
    if isinstance(target, ClassTarget):
        return loss.outputs(len(target.classes))
    return len(target.names)


def find_class_weights(request: Request, data: Prepared) -> Tensor:
    """(C,)"""
    weights, classes = request.spec.training.class_weights, data.classes
    if not classes:
        raise UserError(
            "A regression has no classes to weigh.", hint="Leave training.class_weights out."
        )
    if weights == "balanced":
        counts = data.train.count_classes(len(classes)).double()
        return (len(data.train) / (len(classes) * counts)).float()
    assert isinstance(weights, dict)
    if strangers := sorted(weights.keys() - set(classes) - find_known_classes(request)):
        raise UserError(
            f"training.class_weights names {strangers[0]!r}, which no training row has.",
            hint=f"The classes are {', '.join(classes[:20])}.",
        )
    return torch.tensor([weights.get(name, 1.0) for name in classes])


def find_known_classes(request: Request) -> set[str]:
    """Those of all rows, or the most common of very many: a rare one may train no model, or not
    that of every fold."""
    targets = request.spec.dataset.targets
    columns = [column for column in request.dataset.columns if column.name in targets]
    return {value for column in columns for value, _ in column.values}


def build_trainer(
    request: Request, data: Prepared, model: nn.Module, loss: Loss, warnings: Warnings
) -> Trainer:
    spec, training = request.spec, request.spec.training
    reporter, device = warnings.reporter, data.train.inputs.device
    batches = build_batches(training, data, loss)
    steps = training.epochs * batches.per_epoch
    schedule = registry.build_schedule(training.schedule, steps, batches.per_epoch)
    every = training.log_every or max(1, steps // POINTS)
    rows_per_step = len(data.train) / batches.per_epoch
    return Trainer(
        spec=spec,
        model=model,
        loss=loss,
        optimizer=build_optimizer(training, model),
        schedule=schedule,
        batches=batches,
        validation=build_scorer("validation", request, data, loss, warnings),
        log=TrainLog(reporter, every, training.optimizer.lr, schedule, rows_per_step),
        writer=CheckpointWriter(request.folder, reporter),
        reporter=reporter,
        warnings=warnings,
        device=device,
        autocast=choose_autocast(choose_precision(training, data.features), device),
        best=Best(spec.checkpoints.monitor),
        early_stopping=EarlyStopping(training.early_stopping),
        average=None if training.ema_decay is None else Average(model, training.ema_decay),
        augmenter=build_augmenter(training, data.features),
    )


def choose_precision(training: TrainingSpec, features: Features) -> str:
    """torch multiplies sparse rows in float32 alone."""
    return "float32" if features.sparse else training.precision


def build_model(request: Request, data: Prepared, outputs: int) -> nn.Module:
    """The same weights every time, on the device of the data; torch gets the threads it can use."""
    seed_everything(request.spec.training.seed)
    model = registry.build_model(request.spec.model, data.features.shape, outputs)
    threads = request.threads
    if not hasattr(request.spec.model, "over"):  # else a weight is used more than once per row
        threads = choose_threads(model, request.spec.training.batch_size, threads)
    torch.set_num_threads(threads)
    return data.features.wrap(model).to(data.train.inputs.device)


def build_batches(training: TrainingSpec, data: Prepared, loss: Loss) -> Batches | BlockBatches:
    target, part = data.features.target, data.train

    def shape(targets: Tensor) -> Tensor:
        encoded = target.encode(targets) if isinstance(target, NumberTarget) else targets
        return loss.shape_targets(encoded)

    rows = training.batch_size * training.accumulate
    if isinstance(part.inputs, MappedRows):
        return BlockBatches(part.inputs, part.targets, rows, training.seed, shape)
    return Batches(part.inputs, shape(part.targets), rows, training.seed)


def build_optimizer(training: TrainingSpec, model: nn.Module) -> Optimizer:
    params = list(model.parameters())
    if training.weight_decay_on == "all":
        return registry.build_optimizer(training.optimizer, params)
    return registry.build_optimizer(training.optimizer, split_decay(params))


def build_scorer(
    name: str, request: Request, data: Prepared, loss: Loss, warnings: Warnings
) -> Scorer | None:
    part = data.validation if name == "validation" else data.test
    stopping = request.spec.training.early_stopping
    if not len(part):
        if name == "validation" and stopping is not None:
            raise UserError(
                f"early stopping watches {stopping.metric}, but there are no validation rows.",
                hint="Set dataset.split.validation, or leave training.early_stopping out.",
            )
        return None
    watched = [request.spec.checkpoints.monitor, *([stopping.metric] if stopping else [])]
    names: list[Any] = [*(request.spec.evaluation.metrics or [])]
    names += [each.removeprefix("validation/") for each in watched]
    metrics: Sequence[MetricName] = [each for each in dict.fromkeys(names) if each != "loss"]
    return Scorer(name, part, data.features.target, loss, tuple(metrics), warnings)
