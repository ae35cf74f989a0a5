"""How rows become folds, beside scikit-learn."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

from tests.worker.conftest import Rows, make_rows, make_spec
from worker.data.folds import GroupDealer, RandomDealer, TimeDealer, make_folds
from worker.data.load import load
from worker.data.parts import split_columns
from worker.data.split import Split
from worker.engine.errors import DataError, UserError
from worker.engine.request import Request
from worker.engine.warnings import Warnings

Ask = Callable[..., Request]
SIZES = [(10, 2), (11, 5), (17, 17), (103, 7)]


def divide(request: Request) -> tuple[Split, list[Split]]:
    loaded = load(request, Warnings(None))  # type: ignore[arg-type]
    split = split_columns(request, loaded.columns)
    return split, make_folds(request, loaded.columns, split)


def ask_for(ask: Ask, rows: Rows | None = None, split: Any = None, **folds: Any) -> Request:
    return ask(
        make_spec(
            dataset={"inputs": ["a"], "split": split or {"test": 0.2}},
            evaluation={"cross_validation": folds},
        ),
        rows,
    )


@pytest.mark.parametrize(("rows", "folds"), SIZES)
def test_random_folds_are_as_large_as_those_of_scikit_learn(rows: int, folds: int) -> None:
    deal = RandomDealer(rows, seed=3).deal(folds)
    theirs = [len(held) for _, held in KFold(folds).split(range(rows))]
    assert sorted(Counter(deal).values()) == sorted(theirs)
    assert deal == RandomDealer(rows, seed=3).deal(folds) != RandomDealer(rows, seed=4).deal(folds)


@pytest.mark.parametrize(("rows", "folds"), SIZES)
def test_stratified_folds_keep_class_shares_as_those_of_scikit_learn(rows: int, folds: int) -> None:
    labels = random.Random(rows).choices("abc", weights=[6, 3, 1], k=rows)
    deal = RandomDealer(rows, 0, labels).deal(folds)
    assert max(Counter(deal).values()) - min(Counter(deal).values()) <= 1
    for label in set(labels):
        ours = [sum(labels[i] == label for i in range(rows) if deal[i] == k) for k in range(folds)]
        assert max(ours) - min(ours) <= 1
        if all(count >= folds for count in Counter(labels).values()):
            splits = StratifiedKFold(folds).split(labels, labels)
            theirs = [sum(labels[i] == label for i in held) for _, held in splits]
            assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize(("rows", "folds"), [(60, 3), (103, 7)])
def test_group_folds_are_as_even_as_those_of_scikit_learn(rows: int, folds: int) -> None:
    groups = random.Random(rows).choices("abcdefghij", weights=range(1, 11), k=rows)
    deal = GroupDealer(groups, seed=0).deal(folds)
    assert all(len({deal[i] for i in range(rows) if groups[i] == name}) == 1 for name in groups)
    splits = GroupKFold(folds).split(groups, groups=groups)
    assert sorted(Counter(deal).values()) == sorted(len(held) for _, held in splits)


@pytest.mark.parametrize(("rows", "folds"), [(11, 2), (11, 5), (103, 7)])
def test_time_folds_are_those_of_scikit_learn(rows: int, folds: int) -> None:
    times = [float(time) for time in random.Random(rows).sample(range(1000), rows)]
    order = sorted(range(rows), key=times.__getitem__)
    deal = torch.tensor(TimeDealer(times).deal(folds))
    for number, (past, held) in enumerate(TimeSeriesSplit(folds).split(times)):
        assert {order[place] for place in held} == {*(deal == number).nonzero().flatten().tolist()}
        trains = TimeDealer(times).trains(deal, number)
        assert {order[place] for place in past} == {*trains.nonzero().flatten().tolist()}


def test_every_row_that_is_no_test_row_is_held_out_once(ask: Ask) -> None:
    split, folds = divide(ask_for(ask, folds=4))
    held_out = torch.cat([fold.test for fold in folds])
    pool = torch.cat([split.train, split.validation])
    assert sorted(held_out.tolist()) == sorted(pool.tolist())
    for fold in folds:
        parts = torch.cat([fold.train, fold.validation, fold.test])
        assert sorted(parts.tolist()) == sorted(pool.tolist())
        assert (len(fold.train), len(fold.validation), len(fold.test)) == (32, 4, 12)


def test_folds_are_made_as_the_split_unless_they_say_otherwise(ask: Ask) -> None:
    rows = make_rows()
    rows |= {
        "day": [float(60 - i) for i in range(60)],
        "site": [f"s{i % 7}" for i in range(60)],
    }
    split, folds = divide(ask_for(ask, rows, {"by": "time", "column": "day"}, folds=3))
    days = torch.tensor(rows["day"])
    for fold in folds:
        assert days[fold.train].max() < days[fold.validation].min()
        assert days[fold.validation].max() < days[fold.test].min()
        assert days[fold.test].max() < days[split.test].min()
    _, folds = divide(ask_for(ask, rows, folds=3, by="group", column="site"))
    for fold in folds:
        parts = (fold.train, fold.validation, fold.test)
        train, validation, held_out = ({rows["site"][i] for i in part} for part in parts)
        assert train.isdisjoint(validation)
        assert held_out.isdisjoint(train | validation)


def test_without_validation_rows_folds_have_none_either(ask: Ask) -> None:
    _, folds = divide(ask_for(ask, split={"validation": 0.0, "test": 0.0}, folds=2))
    assert [len(fold.validation) for fold in folds] == [0, 0]


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ({"folds": 49}, "48 rows that are not test rows"),
        ({"folds": 4, "by": "group", "column": "kind"}, "3 groups"),
        ({"folds": 48, "by": "time", "column": "b"}, "48 rows"),
        ({"folds": 30, "by": "time", "column": "b"}, "one class|training rows"),
        ({"folds": 2, "by": "group", "column": "half"}, "one class"),
        ({"folds": 2, "by": "time", "column": "gap"}, "missing in 1 rows"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(ask: Ask, folds: Any, message: str) -> None:
    rows = make_rows()
    rows["gap"] = [None, *map(float, range(59))]
    rows["half"] = ["h0" if label == "c0" else "h1" for label in rows["y"]]
    rows["y"] = ["no" if label == "c0" else "yes" for label in rows["y"]]
    with pytest.raises(DataError, match=message):
        divide(ask_for(ask, rows, **folds))


def test_early_stopping_needs_validation_rows_in_every_fold(ask: Ask) -> None:
    rows = make_rows()
    rows["half"] = [f"h{i % 2}" for i in range(60)]
    request = ask(
        make_spec(
            dataset={"inputs": ["a"]},
            training={"early_stopping": {}},
            evaluation={"cross_validation": {"folds": 2, "by": "group", "column": "half"}},
        ),
        rows,
    )
    with pytest.raises(UserError, match="fold 1"):
        divide(request)
