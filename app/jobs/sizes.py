"""How much a job is: rows in each part, parameters, bytes."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.config import get_settings
from app.errors import ResourceLimit, field_error
from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.shares import count_share

FLOAT_BYTES = 4
LONG_BYTES = 8
READ_BYTES = 256 * 2**20  # of rows on disk, at a time
ANSWER_COPIES = 3


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


def count_rows(spec: JobSpec, usable: int, test_usable: int | None, divider: Column | None) -> Rows:
    """As the worker divides them: a part that is asked for is never empty.

    Where the split looks at the column `divider`, up to whole groups and to rows without a target.
    """
    split = spec.dataset.split
    if split.by == "column" and divider is not None:
        found = dict(divider.values)
        tested = found.get("test", 0)
        held_out = found.get("validation", 0) or count_share(usable - tested, split.validation)
        return Rows(
            usable,
            max(0, usable - held_out - tested),
            held_out,
            tested if test_usable is None else test_usable,
        )
    validation, test = count_share(usable, split.validation), count_share(usable, split.test or 0)
    train = max(0, usable - validation - test)
    return Rows(usable, train, validation, test if test_usable is None else test_usable)


def count_outputs(spec: JobSpec, targets: Sequence[Column]) -> int:
    loss = spec.training.loss
    if spec.dataset.forecast is not None:
        return spec.dataset.forecast.horizon
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


def measure_row(spec: JobSpec, input_bytes: int) -> int:
    """Bytes of an encoded row."""
    several = len(spec.dataset.targets)  # each as it is, and as it is learned
    return input_bytes + (LONG_BYTES + FLOAT_BYTES) * several * (several > 1)


@dataclass(frozen=True)
class Size:
    """`kept` numbers of each row of a batch lead back from the loss to the weights."""

    parameters: int
    rows: Rows
    row_bytes: int  # once encoded
    kept: int
    outputs: int

    @property
    def data_bytes(self) -> int:
        return self.rows.total * self.row_bytes


def estimate_bytes(spec: JobSpec, size: Size) -> int:
    """Weights, their gradients and copies, the optimizer's state, what is kept of a batch, and the
    encoded rows; of rows on disk what is read at a time, and the answers to those that are not
    trained on."""
    training, rows = spec.training, size.rows
    copies = 2 + (training.ema_decay is not None) + (training.lr_finder is not None)
    copies += count_optimizer_states(spec)
    numbers = size.parameters * copies + min(rows.total, training.batch_size) * size.kept
    if spec.dataset.hold != "disk":
        return FLOAT_BYTES * numbers + size.data_bytes
    numbers += ANSWER_COPIES * size.outputs * max(rows.validation, rows.test)
    return FLOAT_BYTES * numbers + READ_BYTES


def refuse_oversize(spec: JobSpec, size: Size, reason: str | None) -> int:
    """The estimate, where it is within the limit of this server. Raises ResourceLimit.

    `reason` says why rows that do not fit memory cannot lie on disk, if they cannot.
    """
    needed, limit = estimate_bytes(spec, size), get_settings().max_job_bytes
    if needed > limit:
        batch = f", of which {spec.training.batch_size:,} at once," if size.kept else ""
        message = (
            f"{size.parameters:,} parameters and {size.rows.total:,} rows of {size.row_bytes:,} "
            f"bytes{batch} need about {needed:,} bytes; this server allows {limit:,}; make the "
            f"model{', the batches or the images' if size.kept else ''} smaller, or leave columns "
            "out"
        )
        if spec.dataset.hold != "disk" and size.data_bytes > limit / 2:
            message += f"; {reason}" if reason else '; or set dataset.hold to "disk"'
        raise ResourceLimit(message, [field_error(["model"], message, "resource_limit")])
    return needed
