"""Divides rows into folds for cross-validation: seeded, exact in number. N rows, K folds.

A deal is the number of a fold, from 0, for each of N rows.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from app.specs.training import CrossValidationSpec
from worker.data.cells import RawColumn
from worker.data.divide import read_times, split_by_group, split_by_time
from worker.data.parts import to_labels
from worker.data.split import Split, split_rows
from worker.data.table import Columns, find_missing, take
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request

FEWER = "Set evaluation.cross_validation.folds lower, or bring more rows."


class Dealer(Protocol):
    """Knows what a way to make folds looks at, for each of N rows."""

    def deal(self, folds: int) -> list[int]: ...
    def trains(self, deal: Tensor, fold: int) -> Tensor:
        """(N,) whether a row belongs to the training rows of `fold`."""
        ...

    def hold_out(self, rows: list[int], share: float) -> Split:
        """Divide these rows the same way into training and validation, by their places."""
        ...


@dataclass(frozen=True)
class RandomDealer:
    """Fold sizes differ by one at most; with `labels`, so do those of each class."""

    rows: int
    seed: int
    labels: list[str] | None = None

    def deal(self, folds: int) -> list[int]:
        refuse_few(self.rows, folds, "rows that are not test rows")
        order = shuffle(self.rows, self.seed)
        if self.labels is not None:
            order.sort(key=self.labels.__getitem__)  # stable: a class stays shuffled
        deal = [0] * self.rows
        for place, row in enumerate(order):
            deal[row] = place % folds
        return deal

    def trains(self, deal: Tensor, fold: int) -> Tensor:
        return deal != fold

    def hold_out(self, rows: list[int], share: float) -> Split:
        labels = [self.labels[row] for row in rows] if self.labels is not None else None
        return split_rows(len(rows), share, 0.0, self.seed, labels)


@dataclass(frozen=True)
class GroupDealer:
    """Whole groups, the largest first, each to the fold with the fewest rows so far."""

    groups: list[str]
    seed: int

    def deal(self, folds: int) -> list[int]:
        names = sorted(set(self.groups))
        refuse_few(len(names), folds, "groups outside the test rows")
        sizes = dict.fromkeys(names, 0)
        for group in self.groups:
            sizes[group] += 1
        order = [names[number] for number in shuffle(len(names), self.seed)]
        filled, fold_of = [0] * folds, {}
        for name in sorted(order, key=lambda name: -sizes[name]):
            fold_of[name] = min(range(folds), key=filled.__getitem__)
            filled[fold_of[name]] += sizes[name]
        return [fold_of[group] for group in self.groups]

    def trains(self, deal: Tensor, fold: int) -> Tensor:
        return deal != fold

    def hold_out(self, rows: list[int], share: float) -> Split:
        return split_by_group([self.groups[row] for row in rows], share, 0.0, self.seed)


@dataclass(frozen=True)
class TimeDealer:
    """Blocks that follow each other in time, each held out by a model of all before it. The first
    block, -1, is never held out and takes what is left over; ties keep the order of the file."""

    times: list[float]

    def deal(self, folds: int) -> list[int]:
        rows = len(self.times)
        refuse_few(rows, folds + 1, "rows that are not test rows")
        size = rows // (folds + 1)
        order = sorted(range(rows), key=self.times.__getitem__)
        deal = [-1] * rows
        for place, row in enumerate(order[rows - folds * size :]):
            deal[row] = place // size
        return deal

    def trains(self, deal: Tensor, fold: int) -> Tensor:
        return deal < fold

    def hold_out(self, rows: list[int], share: float) -> Split:
        return split_by_time([self.times[row] for row in rows], share, 0.0)


def shuffle(count: int, seed: int) -> list[int]:
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def refuse_few(count: int, needed: int, what: str) -> None:
    if count < needed:
        raise DataError(f"There are {count} {what}, too few for the folds.", hint=FEWER)


# ---------------------------------------------------------------- as a spec asks


def make_folds(request: Request, columns: Columns, split: Split) -> list[Split]:
    """Of the rows of `split` that are no test rows; what a fold holds out is its test part.

    The training rows of a fold give up as large a share for validation as those of `split` did.
    """
    spec = request.spec.evaluation.cross_validation
    if spec is None:
        return []
    rows = torch.cat([split.train, split.validation]).sort().values
    share = len(split.validation) / len(rows)
    dealer = choose_dealer(request, spec, columns, rows)
    deal = torch.tensor(dealer.deal(spec.folds))
    folds = []
    for number in range(spec.folds):
        pool = dealer.trains(deal, number).nonzero().squeeze(1)
        inner = dealer.hold_out(pool.tolist(), share)
        held_out = rows[(deal == number).nonzero().squeeze(1)]
        folds.append(Split(rows[pool[inner.train]], rows[pool[inner.validation]], held_out))
        refuse_untrainable(request, columns, number + 1, folds[-1])
    return folds


def choose_dealer(
    request: Request, spec: CrossValidationSpec, columns: Columns, rows: Tensor
) -> Dealer:
    """The API fills in what is left open; a spec that was not resolved means the same here."""
    by, column = spec.by, spec.column
    if by is None and request.spec.dataset.split.by in ("group", "time"):
        by, column = request.spec.dataset.split.by, request.spec.dataset.split.column
    if column is None:
        labels = read_labels(request, columns, rows) if spec.stratify is not False else None
        return RandomDealer(len(rows), spec.seed, labels)
    values = take_complete(columns, column, rows)
    if by == "group":
        return GroupDealer(to_labels(values), spec.seed)
    return TimeDealer(read_times(values, column))


def read_labels(request: Request, columns: Columns, rows: Tensor) -> list[str] | None:
    """None unless one class is predicted."""
    name, *others = request.spec.dataset.targets
    if others or request.task != "classification":
        return None
    return to_labels(take(columns[name], rows, rows.tolist()))


def take_complete(columns: Columns, column: str, rows: Tensor) -> RawColumn:
    if missing := find_missing(columns[column]):
        raise DataError(
            f"Column {column!r} is missing in {len(missing)} rows, and the folds look at it.",
            hint="Fill it in, or set evaluation.cross_validation.by to random.",
        )
    return take(columns[column], rows, rows.tolist())


def refuse_untrainable(request: Request, columns: Columns, number: int, fold: Split) -> None:
    """Before hours are spent on the folds before it."""
    stopping = request.spec.training.early_stopping
    if stopping is not None and not len(fold.validation):
        raise UserError(
            f"Early stopping watches {stopping.metric}, and the training rows of fold {number} "
            "leave none for validation.",
            hint="Use fewer folds or other ones, or leave training.early_stopping out.",
        )
    if len(fold.train) < 2:
        raise DataError(f"Fold {number} has {len(fold.train)} training rows.", hint=FEWER)
    labels = read_labels(request, columns, fold.train)
    if labels is not None and len(set(labels)) < 2:
        raise DataError(
            f"The training rows of fold {number} hold one class: {labels[0][:100]!r}.",
            hint="Use fewer folds, or random ones: evaluation.cross_validation.by.",
        )
