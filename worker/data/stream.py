"""What `prepare` does, for rows that need not fit memory: they go to mapped files, a chunk of the
table at a time. N rows, F inputs."""

from pathlib import Path

import numpy as np
import torch

from app.specs.data import ColumnKind
from app.specs.text import TokensSpec
from worker.data.assign import DROPPED, TEST, PartOf
from worker.data.chunks import read_chunks
from worker.data.features import Features
from worker.data.fit_chunks import fit_inputs
from worker.data.fit_targets import check_number, counts
from worker.data.forecast import prepare_forecast
from worker.data.load import choose_columns
from worker.data.mapped import refuse_full_disk
from worker.data.prepare import Part, Prepared, join, prepare
from worker.data.scan import Scan, scan, scan_test_table
from worker.data.spools import PartSpool
from worker.data.table import count_rows, take_rows
from worker.data.targets import CountTarget, Target, ValueTarget, fit_classes
from worker.engine.errors import UserError
from worker.engine.request import Request
from worker.engine.warnings import Warnings

PARTS = ("training", "validation", "test")  # by number, as in `assign`


HOLDABLE: tuple[ColumnKind, ...] = ("number", "category", "boolean", "text")


def prepare_rows(request: Request, warnings: Warnings) -> Prepared:
    """Raises OSError if the disk is too full for what is to be held there, and Stopped."""
    if request.spec.dataset.forecast is not None:
        return prepare_forecast(request, warnings)
    if request.spec.dataset.hold == "disk":
        return prepare_on_disk(request, warnings)
    return prepare(request, warnings)


def prepare_on_disk(request: Request, warnings: Warnings) -> Prepared:
    kinds = choose_columns(request)
    refuse_unfit(request, list(kinds.values()))
    (name,) = request.spec.dataset.targets
    found = scan(request, kinds[name], warnings)
    inputs = {column: kind for column, kind in kinds.items() if column != name}
    fitted = fit_inputs(request, inputs, found.part_of, warnings.reporter)
    features = join(fitted, fit_target(request, found, warnings), warnings)
    tables = [(request.dataset.path, found.part_of)]
    if request.test_dataset is not None:
        part_of = scan_test_table(request, request.test_dataset, kinds, warnings)
        tables.append((request.test_dataset.path, part_of))
        found.part_of[found.part_of == TEST] = DROPPED
    rows = sum(len(part_of) for _, part_of in tables)
    refuse_full_disk(request.folder, rows * (4 * sum(features.shape) + 8) * (not features.whole))
    return Prepared(features, *write_parts(request, kinds, tables, features, warnings))


def refuse_unfit(request: Request, kinds: list[ColumnKind]) -> None:
    text = request.spec.dataset.text
    odd: list[str] = [kind for kind in kinds if kind not in HOLDABLE]
    if text is not None and not isinstance(text, TokensSpec):
        odd.append("text as counts of terms")
    if len(request.spec.dataset.targets) > 1:
        odd.append("a job of several targets")
    if request.spec.dataset.forecast is not None:
        odd.append("the windows of a forecast")
    if request.spec.evaluation.cross_validation is not None:
        odd.append("the rows of a cross-validation")
    if odd:
        raise UserError(f"On disk cannot be held: {odd[0]}.", hint='Set dataset.hold to "memory".')


def fit_target(request: Request, found: Scan, warnings: Warnings) -> Target:
    (name,), moments = request.spec.dataset.targets, found.moments
    if request.task == "classification":
        return fit_classes(name, found.classes)
    check_number(request, name, moments.low, moments.high, warnings)
    if counts(request):
        return CountTarget(name, moments.mean, 1.0)
    if moments.low == moments.high:
        return ValueTarget(name, moments.low, 1.0)
    return ValueTarget(name, moments.mean, moments.std)


def write_parts(
    request: Request,
    kinds: dict[str, ColumnKind],
    tables: list[tuple[Path, PartOf]],
    features: Features,
    warnings: Warnings,
) -> list[Part]:
    """The rows for training, validation and test."""
    spools = [PartSpool(name, request.folder, features) for name in PARTS]
    for path, part_of in tables:
        for first, columns in read_chunks(path, kinds, request.threads, warnings.reporter):
            here = part_of[first : first + count_rows(columns)]
            for part, spool in enumerate(spools):
                if len(rows := np.flatnonzero(here == part)):
                    spool.add(take_rows(columns, torch.from_numpy(rows)))
    return [spool.map(warnings) for spool in spools]
