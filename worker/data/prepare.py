"""From a request to tensors: read, drop, split, fit on the training rows, encode."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.specs.data import ColumnKind
from app.specs.image import ImageSpec
from app.specs.sequence import SequenceSpec
from app.specs.text import TokensSpec
from worker.data.cells import RawColumn
from worker.data.columns import NumberInput, fit_category, fit_number
from worker.data.features import Features, Input
from worker.data.fit_targets import fit_target, read_targets
from worker.data.fit_text import fit_all_terms, fit_tokens
from worker.data.folds import make_folds
from worker.data.image import ImageInput, Images
from worker.data.load import Loaded, load
from worker.data.mapped import MappedRows
from worker.data.parts import split_columns
from worker.data.rows import Rows, hold_rows
from worker.data.sequence import SequenceInput, Sequences, fit_sequence
from worker.data.split import Split
from worker.data.table import Columns, count_rows, list_names, take_rows
from worker.data.targets import ClassTarget, Target
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request
from worker.engine.warnings import Warnings

MAX_WIDTH = 100_000  # encoded inputs
COUNTED_ROWS = 2**20  # at a time


@dataclass(frozen=True)
class Part:
    """Rows ready for a model: inputs (N, ...), targets (N,) class numbers or raw values, (N, K) of
    several columns. `last` (N,) holds the latest value of what a forecast predicts."""

    inputs: Rows
    targets: Tensor
    last: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def count_classes(self, classes: int) -> Tensor:
        """(C,) rows of each class. Targets on disk are looked at piece by piece."""
        counts = torch.zeros(classes, dtype=torch.long)
        for piece in torch.split(self.targets, COUNTED_ROWS):
            counts += torch.bincount(piece.cpu(), minlength=classes)[:classes]
            if isinstance(self.inputs, MappedRows):
                self.inputs.forget()
        return counts


@dataclass(frozen=True)
class Prepared:
    features: Features
    train: Part
    validation: Part
    test: Part

    @property
    def classes(self) -> tuple[str, ...]:
        target = self.features.target
        return target.classes if isinstance(target, ClassTarget) else ()


def prepare(request: Request, warnings: Warnings) -> Prepared:
    loaded = load(request, warnings)
    split = split_columns(request, loaded.columns)
    make_folds(request, loaded.columns, split)  # what is wrong with them shows before training
    return encode_parts(request, loaded, split, warnings)


def encode_parts(request: Request, loaded: Loaded, split: Split, warnings: Warnings) -> Prepared:
    """Fitted on the training rows of `split`. A test dataset is tested on instead of its rows."""
    train, validation, test = (
        take_rows(loaded.columns, rows) for rows in (split.train, split.validation, split.test)
    )
    features = fit(request, loaded, train, warnings)
    return Prepared(
        features,
        encode("training", features, train, warnings),
        encode("validation", features, validation, warnings),
        encode("test", features, loaded.test_columns or test, warnings),
    )


def fit(request: Request, loaded: Loaded, train: Columns, warnings: Warnings) -> Features:
    targets = request.spec.dataset.targets
    inputs = [
        each
        for name, kind in loaded.kinds.items()
        if name not in targets
        for each in fit_column(request, name, kind, train[name])
    ]
    return join(inputs, fit_target(request, loaded.columns, train, warnings), warnings)


def join(inputs: list[Input], target: Target, warnings: Warnings) -> Features:
    constant = [each.name for each in inputs if isinstance(each, NumberInput) and each.std == 0]
    if constant:
        warnings.add(f"Constant in the training rows, so set to 0: {list_names(constant)}.")
    features = Features(inputs, target)
    refuse_width(features)
    return features


def refuse_width(features: Features) -> None:
    (width, *_), columns = features.shape, features.table
    if width == 0:
        names = list_names([column.name for column in features.inputs])
        raise DataError(
            f"Nothing is left of {names} in the training rows.",
            hint="Choose other inputs, or keep more terms: dataset.text.min_df and max_df.",
        )
    if columns and not features.sparse and width > MAX_WIDTH:
        widest = max(columns, key=lambda column: column.width)
        raise DataError(
            f"The inputs become {width:,} numbers per row, {widest.width:,} of them from "
            f"column {widest.name!r}; at most {MAX_WIDTH:,} are possible.",
            hint="Leave columns with very many categories out of dataset.inputs.",
        )


def fit_column(request: Request, name: str, kind: ColumnKind, values: RawColumn) -> Sequence[Input]:
    """Text as counts of terms may give several inputs."""
    data = request.spec.dataset
    if isinstance(values, Images):
        return [choose_image(name, data.image)]
    if isinstance(values, Sequences):
        asked = data.sequence or SequenceSpec()
        return [fit_sequence(name, values, asked.max_length, asked.keep, data.scale)]
    if isinstance(values, Tensor):
        return [fit_number(name, values, data.impute, data.scale)]
    if data.text is not None and name in (data.text.columns or []):
        if isinstance(data.text, TokensSpec):
            return [fit_tokens(name, values, data.text)]
        return fit_all_terms(name, values, data.text)
    assert isinstance(values, list)
    return [fit_category(name, kind, values)]


def choose_image(name: str, spec: ImageSpec | None) -> ImageInput:
    """Nothing is learned from the pictures: the API has looked at their sizes."""
    if spec is None or spec.height is None or spec.width is None or spec.channels == "auto":
        raise UserError("dataset.image is still open.", hint="Name height, width and channels.")
    return ImageInput(name, spec.channels, spec.height, spec.width)


def encode(name: str, features: Features, columns: Columns, warnings: Warnings) -> Part:
    refuse_too_large(features, count_rows(columns))
    inputs, unknown = encode_inputs(features, columns)
    warn_of_unknown(name, unknown, len(inputs), warnings)
    return Part(inputs, read_targets(features.target, name, columns, warnings))


def warn_of_unknown(name: str, unknown: dict[str, int], rows: int, warnings: Warnings) -> None:
    for column, count in unknown.items():
        warnings.add(
            f"Column {column!r}: {count} of {rows} {name} rows hold a category that the "
            "training rows do not; it was ignored."
        )


def encode_inputs(features: Features, columns: Columns) -> tuple[Rows, dict[str, int]]:
    whole = features.whole
    if isinstance(whole, SequenceInput):
        return encode_sequences(whole, columns[whole.name]), {}
    inputs, unknown = features.encode(columns)
    refuse_overflow(features, inputs)
    return hold_rows(inputs), unknown


def encode_sequences(column: SequenceInput, values: RawColumn) -> Sequences:
    assert isinstance(values, Sequences)
    if len(values) and values.steps.shape[1] != column.shape[0]:
        raise DataError(
            f"Column {column.name!r} has steps of {values.steps.shape[1]} numbers here and of "
            f"{column.shape[0]} in training.",
            hint="Bring test rows whose steps are like those of the training rows.",
        )
    rows = column.scale(values)
    if not rows.steps.isfinite().all():
        raise DataError(
            f"Column {column.name!r} holds numbers too large for 32 bits.",
            hint='Rescale it, or set dataset.scale to "standard".',
        )
    return rows


def refuse_too_large(features: Features, rows: int) -> None:
    if features.sparse or features.whole is not None:
        return
    needed = 4 * rows * features.shape[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise DataError(
            f"The encoded inputs need {needed / 2**30:.1f} GiB, more than half of this machine's "
            "memory.",
            hint="Leave columns with very many categories out of dataset.inputs.",
        )


def refuse_overflow(features: Features, inputs: Tensor) -> None:
    if features.whole is not None or (bad := find_overflow(inputs)) is None:
        return
    for column in features.table:
        if isinstance(column, NumberInput) and bad < column.width:
            raise DataError(
                f"Column {column.name!r} holds numbers too large for 32 bits.",
                hint='Rescale it, or set dataset.scale to "standard".',
            )
        bad -= column.width


def find_overflow(inputs: Tensor) -> int | None:
    """The first encoded input of which a number is not finite. (N, F), dense or in compressed
    rows."""
    if inputs.layout == torch.sparse_csr:
        bad = inputs.col_indices()[~inputs.values().isfinite()]
        return int(bad.min()) if len(bad) else None
    if inputs.isfinite().all():
        return None
    return int((~inputs.isfinite()).any(0).nonzero()[0])
