"""Reads the specs. A variant that is added there shows up here."""

from collections.abc import Iterable
from functools import cache
from inspect import cleandoc
from typing import Any, get_args

from app.errors import NotFound
from app.specs.augment import AUGMENTATIONS, RowsSpec
from app.specs.base import Spec
from app.specs.explanations import EXPLANATIONS
from app.specs.losses import CLASSIFICATION_LOSSES, REGRESSION_LOSSES, LossSpec
from app.specs.models import FAMILIES, Family
from app.specs.optimizers import OptimizerSpec
from app.specs.schedules import ScheduleSpec
from app.specs.training import (
    CLASSIFICATION_METRICS,
    LOWER_IS_BETTER,
    REGRESSION_METRICS,
    MetricName,
)


@cache
def list_families() -> list[dict[str, Any]]:
    return [_describe_family(family) for family in FAMILIES]


def find_family(type: str) -> dict[str, Any]:
    for family in list_families():
        if family["type"] == type:
            return family
    raise NotFound("No such model family.")


@cache
def describe_everything() -> dict[str, Any]:
    return {
        "data": list_families(),
        "optimizers": [_describe(spec) for spec in _variants(OptimizerSpec)],
        "schedules": [_describe(spec) for spec in _variants(ScheduleSpec)],
        "losses": [_describe_loss(spec) for spec in _variants(LossSpec)],
        "augmentations": [_describe_augmentation(spec) for spec in AUGMENTATIONS],
        "explanations": [_describe(spec) for spec in EXPLANATIONS],
        "metrics": [_describe_metric(name) for name in get_args(MetricName)],
    }


def _variants(union: Any) -> Iterable[type[Spec]]:
    """The members of `Annotated[A | B, ...]`."""
    variants: tuple[type[Spec], ...] = get_args(get_args(union)[0])
    return variants


def _describe(spec: type[Spec]) -> dict[str, Any]:
    defaults = spec().model_dump(mode="json")
    return {
        "type": defaults["type"],
        "description": cleandoc(spec.__doc__ or ""),
        "schema": spec.model_json_schema(),
        "defaults": defaults,
    }


def _describe_family(family: Family) -> dict[str, Any]:
    return {**_describe(family), "tasks": list(family().tasks()), "takes": list(family.takes)}


def _describe_loss(spec: type[Spec]) -> dict[str, Any]:
    described = _describe(spec)
    return {
        **described,
        "tasks": _tasks(described["type"], REGRESSION_LOSSES, CLASSIFICATION_LOSSES),
    }


def _describe_augmentation(spec: type[RowsSpec]) -> dict[str, Any]:
    return {**_describe(spec), "takes": list(spec.takes)}


def _describe_metric(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "tasks": _tasks(name, REGRESSION_METRICS, CLASSIFICATION_METRICS),
        "better": "lower" if name in LOWER_IS_BETTER else "higher",
    }


def _tasks(name: str, regression: Iterable[str], classification: Iterable[str]) -> list[str]:
    named = {"regression": regression, "classification": classification}
    return [task for task, names in named.items() if name in names]
