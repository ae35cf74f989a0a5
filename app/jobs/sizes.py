"""How much a job is: rows in each part, parameters, bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.config import get_settings
from app.errors import ResourceLimit, field_error
from app.specs import JobSpec
from app.specs.columns import Column

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Rows:
    usable: int
    train: int
    validation: int
    test: int


def count_rows(spec: JobSpec, usable: int, test_usable: int | None) -> Rows:
    split = spec.dataset.split
    validation = round(usable * split.validation)
    test = round(usable * (split.test or 0))
    train = usable - validation - test
    return Rows(usable, train, validation, test if test_usable is None else test_usable)


def count_outputs(spec: JobSpec, classes: int) -> int:
    loss = spec.training.loss
    return classes if loss != "auto" and loss.type == "cross_entropy" else 1


def count_parameters(spec: JobSpec, inputs: Sequence[Column], classes: int) -> int:
    """At most: the columns of categories are counted over all rows, not the training rows."""
    width = sum(1 if column.kind == "number" else column.distinct for column in inputs)
    return spec.model.parameter_count(width, count_outputs(spec, classes))


def count_optimizer_states(spec: JobSpec) -> int:
    """Tensors as large as the weights that the optimizer keeps."""
    optimizer = spec.training.optimizer
    match optimizer.type:
        case "sgd":
            return int(optimizer.momentum > 0)
        case "rmsprop":
            return 1 + int(optimizer.momentum > 0)
        case _:
            return 2


def estimate_bytes(spec: JobSpec, parameters: int) -> int:
    """Weights, gradients and optimizer state."""
    return parameters * FLOAT_BYTES * (2 + count_optimizer_states(spec))


def refuse_oversize(spec: JobSpec, parameters: int) -> int:
    """The estimate, where it is within the limit of this server. Raises ResourceLimit."""
    needed, limit = estimate_bytes(spec, parameters), get_settings().max_job_bytes
    if needed > limit:
        message = (
            f"{parameters} parameters need about {needed} bytes with their gradients and "
            f"optimizer state; this server allows {limit}; make the model smaller"
        )
        raise ResourceLimit(message, [field_error(["model"], message, "resource_limit")])
    return needed
