from typing import Any

import pytest
from pydantic import ValidationError

from app.specs.columns import Column
from app.specs.training import CrossValidationSpec
from tests.app.jobs.test_checks import error_of, plan
from tests.factories import category, number

FLOWERS = [number("length"), category("species", "x", "y", rarest=40)]
SITE = category("site", "a", "b", "c")
DAY = Column(name="day", kind="time", distinct=150)


def ask(**folds: Any) -> dict[str, Any]:
    return {"evaluation": {"cross_validation": folds}}


def fill(*columns: Column, **parts: Any) -> CrossValidationSpec:
    folds = plan(*columns, **parts).spec.evaluation.cross_validation
    assert folds is not None
    return folds


def test_what_is_left_open_follows_the_task_and_the_split() -> None:
    assert fill(*FLOWERS, **ask()) == CrossValidationSpec(by="random", stratify=True)
    assert fill(*FLOWERS, **ask(stratify=False)).stratify is False
    regression = {"model": {"type": "linear"}, **ask()}
    assert fill(number("length"), number("species"), **regression).stratify is False
    for by, column in (("group", SITE), ("time", DAY)):
        dataset = {"split": {"by": by, "column": column.name}}
        found = fill(*FLOWERS, column, dataset=dataset, **ask(folds=3))
        assert (found.by, found.column, found.stratify) == (by, column.name, False)


def test_filled_in_folds_are_a_valid_spec_that_resolves_to_itself() -> None:
    planned = plan(
        *FLOWERS, SITE, dataset={"split": {"by": "group", "column": "site"}}, **ask(folds=3)
    )
    body = planned.spec.model_dump(mode="json")
    again = plan(*FLOWERS, SITE, dataset=body["dataset"], evaluation=body["evaluation"])
    assert again.spec.evaluation == planned.spec.evaluation


def test_the_column_that_folds_look_at_is_no_input() -> None:
    planned = plan(*FLOWERS, SITE, **ask(folds=3, by="group", column="site"))
    assert planned.spec.dataset.inputs == ["length"]


@pytest.mark.parametrize(
    ("folds", "loc", "words"),
    [
        ({"folds": 4, "by": "group", "column": "site"}, "folds", "3 groups for 4 folds"),
        ({"by": "group", "column": "nowhere"}, "column", "no column 'nowhere'"),
        ({"by": "time", "column": "site"}, "column", "no order in time"),
        ({"by": "group", "column": "gap"}, "column", "missing in 2 rows"),
        ({"folds": 41, "stratify": True}, "stratify", "40 rows for 41 folds"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(folds: Any, loc: str, words: str) -> None:
    columns = [*FLOWERS, SITE, category("gap", "a", "b", missing=2)]
    dataset = {"inputs": ["length"]}
    found, message = error_of(*columns, dataset=dataset, **ask(**folds))
    assert found == f"evaluation.cross_validation.{loc}"
    assert words in message


@pytest.mark.parametrize(
    ("rows", "folds"), [(9, {"folds": 10}), (4, {"folds": 2}), (9, {"folds": 6, "by": "time"})]
)
def test_too_few_rows_are_refused(rows: int, folds: dict[str, Any]) -> None:
    columns = [number("length"), category("species", "x", "y", rarest=2), DAY]
    folds = folds | ({"column": "day"} if "by" in folds else {})
    loc, message = error_of(*columns, rows=rows, dataset={"inputs": ["length"]}, **ask(**folds))
    assert loc == "evaluation.cross_validation.folds"
    assert "use fewer folds" in message


def test_a_rare_class_is_not_stratified_unless_that_was_asked_for() -> None:
    columns = [number("length"), category("species", "x", "y", rarest=4)]
    planned = plan(*columns, **ask())
    assert planned.spec.evaluation.cross_validation is not None
    assert planned.spec.evaluation.cross_validation.stratify is False
    assert "4 rows for 5 folds" in planned.warnings[0]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"folds": 1},
        {"by": "group"},
        {"by": "time"},
        {"by": "random", "column": "site"},
        {"column": "site"},
        {"by": "group", "column": "site", "stratify": True},
    ],
)
def test_what_makes_no_sense_is_no_spec(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CrossValidationSpec.model_validate(fields)


def test_only_classes_are_stratified() -> None:
    columns = [number("length"), number("species")]
    loc, message = error_of(*columns, model={"type": "linear"}, **ask(stratify=True))
    assert loc == "evaluation.cross_validation.stratify"
    assert "only the classes of one target" in message
