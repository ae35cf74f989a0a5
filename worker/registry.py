"""Finds the file that builds a spec: `worker/models/mlp.py` builds `MLPSpec(type="mlp")`.

A file plus its spec is all it takes. `type` is a Literal of the spec, so no client can name a
module; `tests/worker/test_registry.py` holds files and specs together.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

from torch import Tensor, nn
from torch.optim import Optimizer

from app.specs.augment import AugmentSpec
from app.specs.explanations import ExplanationSpec
from app.specs.losses import LossSpec
from app.specs.models import ModelSpec
from app.specs.optimizers import OptimizerSpec
from app.specs.schedules import ScheduleSpec
from app.specs.training import MetricName
from worker.attributions import Attribute
from worker.augment import Augment
from worker.losses import Loss
from worker.optimizers import Params

KINDS = ("models", "optimizers", "losses", "schedules", "metrics", "augment", "attributions")
Schedule = Callable[[int], float]  # step, counted from 0 -> factor on the learning rate
Metric = Callable[[Tensor, Tensor], Tensor]


def list_variants(kind: str) -> list[str]:
    """The names of the files of one kind."""
    package = import_module(f"worker.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def import_variants() -> None:
    """Import every variant: for a process that is forked once per job."""
    for kind in KINDS:
        for name in list_variants(kind):
            _find(kind, name)


def _find(kind: str, name: str) -> ModuleType:
    return import_module(f"worker.{kind}.{name}")


def find_model_source(spec: ModelSpec) -> Path:
    return Path(_find("models", spec.type).__file__ or "")


def build_model(spec: ModelSpec, inputs: tuple[int, ...], outputs: int) -> nn.Module:
    """`inputs`: see Features.shape."""
    model: nn.Module = _find("models", spec.type).build(spec, inputs, outputs)
    return model


def build_optimizer(spec: OptimizerSpec, params: Params) -> Optimizer:
    optimizer: Optimizer = _find("optimizers", spec.type).build(spec, params)
    return optimizer


def build_loss(spec: LossSpec) -> Loss:
    loss: Loss = _find("losses", spec.type).build(spec)
    return loss


def build_augment(spec: AugmentSpec) -> Augment:
    augment: Augment = _find("augment", spec.type).build(spec)
    return augment


def build_schedule(spec: ScheduleSpec, steps: int, steps_per_epoch: int) -> Schedule:
    schedule: Schedule = _find("schedules", spec.type).build(spec, steps, steps_per_epoch)
    return schedule


def find_metric(name: MetricName) -> Metric:
    """The metric of (outputs, targets), a 0-d tensor that is NaN where the metric is undefined.

    Classification: outputs (N, C) are probabilities, targets (N,) class numbers, C for a class
    that training has not seen. Regression: both (N,), in the target's own units. One that sees
    several targets at once gets (N, K, C) and (N, K).
    """
    metric: Metric = _find("metrics", name).compute
    return metric


def build_attribution(spec: ExplanationSpec) -> Attribute:
    attribute: Attribute = _find("attributions", spec.type).build(spec)
    return attribute
