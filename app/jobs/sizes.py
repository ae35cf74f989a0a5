"""How much a job is: rows in each part, parameters, bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.config import get_settings
from app.errors import ResourceLimit, field_error
from app.specs import JobSpec
from app.specs.columns import Column

FLOAT_BYTES = 4
LONG_BYTES = 8


@dataclass(frozen=True)
class Rows:
    usable: int
    train: int
    validation: int
    test: int

    @property
    def total(self) -> int:
        """As many as are held in memory."""
        return self.train + self.validation + self.test


def count_rows(spec: JobSpec, usable: int, test_usable: int | None, column: Column | None) -> Rows:
    """As the worker divides them: a part that is asked for is never empty.

    Where the split looks at `column`, up to whole groups and to rows without a target.
    """
    split = spec.dataset.split
    if split.by == "column" and column is not None:
        found = dict(column.values)
        held_out, tested = found.get("validation", 0), found.get("test", 0)
        return Rows(
            usable,
            max(0, usable - held_out - tested),
            held_out,
            tested if test_usable is None else test_usable,
        )
    validation, test = _share(usable, split.validation), _share(usable, split.test or 0)
    train = max(0, usable - validation - test)
    return Rows(usable, train, validation, test if test_usable is None else test_usable)


def _share(rows: int, share: float) -> int:
    return max(1, round(rows * share)) if share > 0 else 0


def count_outputs(spec: JobSpec, targets: Sequence[Column]) -> int:
    loss = spec.training.loss
    if len(targets) > 1:
        return len(targets)
    classes = targets[0].distinct
    return classes if loss != "auto" and loss.type in ("cross_entropy", "focal") else 1


def count_width(inputs: Sequence[Column]) -> int:
    """Numbers per row that a model sees: one for a number, one for each value of the others.

    At most: values are counted over all rows, not the training rows alone.
    """
    return sum(
        1 if column.kind == "number" else column.distinct + (column.missing > 0)
        for column in inputs
    )


def count_optimizer_states(spec: JobSpec) -> int:
    """Tensors as large as the weights that the optimizer keeps."""
    optimizer = spec.training.optimizer
    match optimizer.type:
        case "sgd":
            return int(optimizer.momentum > 0)
        case "rmsprop":
            return 1 + int(optimizer.momentum > 0)
        case "adagrad" | "lion":
            return 1
        case _:
            return 2


def estimate_bytes(spec: JobSpec, parameters: int, rows: int, row_bytes: int, kept: int) -> int:
    """Weights, their gradients and copies, the optimizer's state, the encoded rows, and the `kept`
    numbers of each row of a batch, which lead back from the loss to the weights."""
    training = spec.training
    if len(spec.dataset.targets) > 1:  # each as it is, and as it is learned
        row_bytes += (LONG_BYTES + FLOAT_BYTES) * len(spec.dataset.targets)
    copies = 2 + (training.ema_decay is not None) + (training.lr_finder is not None)
    copies += count_optimizer_states(spec)
    numbers = parameters * copies + min(rows, training.batch_size) * kept
    return FLOAT_BYTES * numbers + rows * row_bytes


def refuse_oversize(spec: JobSpec, parameters: int, rows: int, row_bytes: int, kept: int) -> int:
    """The estimate, where it is within the limit of this server. Raises ResourceLimit."""
    needed = estimate_bytes(spec, parameters, rows, row_bytes, kept)
    limit = get_settings().max_job_bytes
    if needed > limit:
        batch = f", of which {spec.training.batch_size:,} at once," if kept else ""
        message = (
            f"{parameters:,} parameters and {rows:,} rows of {row_bytes:,} bytes{batch} need about "
            f"{needed:,} bytes; this server allows {limit:,}; make the model"
            f"{', the batches or the images' if kept else ''} smaller, or leave columns out"
        )
        raise ResourceLimit(message, [field_error(["model"], message, "resource_limit")])
    return needed
