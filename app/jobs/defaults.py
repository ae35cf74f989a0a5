"""Fills in what a spec leaves open, where only the data can tell what is meant."""

from collections.abc import Sequence

from app.jobs.findings import Findings, Loc
from app.jobs.inputs import Inputs
from app.jobs.splits import count_drawn_parts
from app.jobs.targets import Targets
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.data import SplitSpec
from app.specs.losses import (
    CLASSIFICATION_LOSSES,
    LABEL_LOSSES,
    REGRESSION_LOSSES,
    BinaryCrossEntropySpec,
    CrossEntropySpec,
    LossSpec,
    MSESpec,
)
from app.specs.models import Task
from app.specs.training import (
    CLASSIFICATION_METRICS,
    DEFAULT_METRICS,
    REGRESSION_METRICS,
    MetricName,
)


def fill(
    found: Findings, spec: JobSpec, targets: Targets, inputs: Inputs, divider: Column | None
) -> JobSpec:
    """`divider` is the column that the split looks at."""
    task = targets.task
    check_class_weights(found, spec, targets)
    split = fill_split(found, spec, targets, divider)
    dataset = spec.dataset.model_copy(
        update={
            "inputs": inputs.names,
            "split": split,
            "text": inputs.text,
            "image": inputs.image,
            "sequence": inputs.sequence,
        }
    )
    model = spec.model.model_copy(update=fill_model(spec, task, inputs))
    return spec.model_copy(
        update={
            "model": model,
            "dataset": dataset,
            "training": spec.training.model_copy(
                update={"loss": choose_loss(found, spec, targets)}
            ),
            "evaluation": spec.evaluation.model_copy(
                update={"metrics": choose_metrics(found, spec, task)}
            ),
        }
    )


def fill_split(
    found: Findings, spec: JobSpec, targets: Targets, divider: Column | None
) -> SplitSpec:
    data = spec.dataset
    test = data.split.test
    if test is None:
        test = 0.0 if data.test_id or data.split.by == "column" else 0.1
    split = data.split.model_copy(update={"test": test})
    parts = count_drawn_parts(split, divider)
    stratify = parts > 0 and choose_stratify(found, split.stratify, targets, parts)
    split = split.model_copy(update={"stratify": stratify})
    if data.forecast is not None:
        split = split.model_copy(update={"by": "time", "column": data.forecast.column})
    return split


def fill_model(spec: JobSpec, task: Task, inputs: Inputs) -> dict[str, str]:
    """The fields of a family that are on auto."""
    model = spec.model
    chosen: dict[str, str] = {"task": task, "over": inputs.takes}
    if getattr(model, "gather", None) == "auto":
        whole = inputs.takes == "image" or inputs.forecast is not None
        chosen["gather"] = "flatten" if whole else "max"
    return {name: value for name, value in chosen.items() if name in type(model).model_fields}


def choose_stratify(found: Findings, asked: bool | None, targets: Targets, parts: int) -> bool:
    loc: Loc = ["dataset", "split", "stratify"]
    if targets.task == "regression" or targets.several:
        if asked and targets.task == "regression":
            found.refuse(loc, "only classes can be stratified; leave it out for regression")
        elif asked:
            found.refuse(loc, "rows can be stratified by one target, not by several; leave it out")
        return False
    (target,) = targets.columns
    if asked is False or target.rarest >= parts:
        return asked is not False
    message = (
        f"the rarest class of {target.name!r} has {target.rarest} rows for {parts} parts of the "
        "data"
    )
    if asked:
        found.refuse(loc, f"{message}; remove that class, or set stratify to false")
    else:
        found.warn(loc, f"{message}, so class shares are not kept equal")
    return False


def choose_loss(found: Findings, spec: JobSpec, targets: Targets) -> LossSpec:
    loss, task = spec.training.loss, targets.task
    two_classes = targets.several or targets.columns[0].distinct == 2
    if loss == "auto":
        if task == "regression":
            return MSESpec()
        return BinaryCrossEntropySpec() if two_classes else CrossEntropySpec()
    fitting = REGRESSION_LOSSES if task == "regression" else CLASSIFICATION_LOSSES
    if loss.type not in fitting:
        found.refuse(["training", "loss"], f"{loss.type} does not fit {task}: {_use(fitting)}")
    else:
        check_loss(found, loss, targets)
    return loss


def check_loss(found: Findings, loss: LossSpec, targets: Targets) -> None:
    loc: Loc = ["training", "loss"]
    classes = targets.columns[0].distinct
    if loss.type == "cross_entropy" and targets.several:
        found.refuse(loc, f"{loss.type} tells the classes of one target: {_use(LABEL_LOSSES)}")
    elif loss.type == "binary_cross_entropy" and classes != 2:
        found.refuse(loc, f"the target has {classes} classes, not 2: use cross_entropy")
    elif loss.type == "poisson":
        for column in targets.columns:
            if (column.min or 0) < 0:
                found.refuse(
                    loc,
                    f"poisson is for counts, and {column.name!r} goes down to {column.min:g}; "
                    "use mse",
                )


def check_class_weights(found: Findings, spec: JobSpec, targets: Targets) -> None:
    weights, loc = spec.training.class_weights, ["training", "class_weights"]
    if weights is None:
        return
    if targets.task == "regression":
        found.refuse([*loc], "a regression has no classes to weigh; leave class_weights out")
    elif isinstance(weights, dict) and targets.several:
        found.refuse([*loc], "each of several targets has classes of its own; use balanced")
    elif isinstance(weights, dict):
        (target,) = targets.columns
        known = {value for value, _ in target.values}
        complete = len(known) == target.distinct  # of very many, only the most common are known
        for name in sorted(weights.keys() - known) if complete else []:
            shown = ", ".join(repr(value) for value in sorted(known)[:8])
            found.refuse([*loc, name], f"{target.name!r} has no class {name!r}; it has {shown}")
        if not any(weights.get(name, 1) for name in known or [""]):
            found.refuse([*loc], "every class has the weight 0: nothing would be learned")


def choose_metrics(found: Findings, spec: JobSpec, task: Task) -> list[MetricName]:
    """The ones listed, or the usual ones of the task, and those that something watches."""
    fitting = REGRESSION_METRICS if task == "regression" else CLASSIFICATION_METRICS
    listed = spec.evaluation.metrics
    for i, name in enumerate(listed or []):
        if name not in fitting:
            found.refuse(
                ["evaluation", "metrics", i], f"{name} does not fit {task}: {_use(fitting)}"
            )
    metrics = list(dict.fromkeys(listed or DEFAULT_METRICS[task]))
    for loc, monitor in _monitors(found, spec):
        watched = monitor.removeprefix("validation/")
        if watched != "loss" and watched not in fitting:
            found.refuse(loc, f"{monitor} does not fit {task}: {_use(('loss', *fitting))}")
        metrics += [name for name in fitting if name == watched and name not in metrics]
    return metrics


def _use(names: Sequence[str]) -> str:
    return f"use {', '.join(names)}"


def _monitors(found: Findings, spec: JobSpec) -> list[tuple[Loc, str]]:
    monitors: list[tuple[Loc, str]] = [(["checkpoints", "monitor"], spec.checkpoints.monitor)]
    stopping = spec.training.early_stopping
    if stopping is not None:
        monitors.append((["training", "early_stopping", "metric"], stopping.metric))
        if spec.dataset.split.validation == 0:
            found.refuse(
                ["training", "early_stopping"],
                "early stopping watches the validation rows, and split.validation is 0",
            )
    return monitors
