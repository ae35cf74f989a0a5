"""Where a job's rows lie: settled when it is submitted, so that every attempt does the same."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.config import get_settings
from app.errors import ResourceLimit
from app.specs.columns import Column
from tests.app.jobs.test_checks import error_of, plan
from tests.factories import category, flower_columns, number

TEXT = [Column(name="words", kind="text", distinct=150), category("species", "x", "y")]
CNN = {"type": "cnn"}
ROWS = 100_000


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRAINSMITH_MAX_HELD_BYTES", "10000")
    monkeypatch.setenv("TRAINSMITH_MAX_JOB_BYTES", str(2**30))
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


def hold_of(*columns: Column, **parts: Any) -> str:
    return plan(*columns, **parts).spec.dataset.hold


def test_large_rows_lie_on_disk_and_small_ones_in_memory() -> None:
    assert hold_of(rows=100) == "memory"
    assert hold_of(rows=ROWS) == "disk"
    assert hold_of(*TEXT, model=CNN, rows=ROWS) == "disk"
    assert hold_of(rows=100, dataset={"hold": "disk"}) == "disk"
    assert hold_of(rows=ROWS, dataset={"hold": "memory"}) == "memory"


@pytest.mark.parametrize(
    ("columns", "parts", "reason"),
    [
        (TEXT, {"dataset": {"text": {"type": "tf_idf"}}}, "text as counts of terms"),
        (flower_columns(), {"evaluation": {"importance": "permutation"}}, "evaluation.importance"),
    ],
    ids=["terms", "importance"],
)
def test_what_must_be_in_memory_stays_there_with_a_warning(
    columns: list[Column], parts: dict[str, Any], reason: str
) -> None:
    planned = plan(*columns, rows=ROWS, **parts)
    assert planned.spec.dataset.hold == "memory"
    assert any(reason in warning["message"] for warning in planned.warnings)
    dataset = parts.get("dataset", {}) | {"hold": "disk"}
    loc, message = error_of(*columns, rows=ROWS, **parts | {"dataset": dataset})
    assert loc == "dataset.hold"
    assert reason in message


def test_rows_on_disk_are_not_counted_as_memory() -> None:
    rows, split = 10**9, {"validation": 0.0, "test": 0.001}
    assert plan(rows=rows, dataset={"split": split}).memory_bytes < 2**30
    with pytest.raises(ResourceLimit, match=r"set dataset\.hold to"):
        plan(rows=rows, dataset={"split": split, "hold": "memory"})
    with pytest.raises(ResourceLimit, match=r"evaluation\.importance needs the rows in memory"):
        plan(rows=rows, dataset={"split": split}, evaluation={"importance": "permutation"})


def test_answers_to_the_rows_that_are_not_trained_on_count() -> None:
    with pytest.raises(ResourceLimit):
        plan(rows=10**9, dataset={"split": {"validation": 0.5, "test": 0.0}})


def test_weights_count_wherever_the_rows_lie() -> None:
    columns = [number("a"), category("species", "x", "y", "z")]
    model = {"type": "mlp", "hidden": [8192] * 64}
    with pytest.raises(ResourceLimit) as caught:
        plan(*columns, rows=ROWS, model=model)
    assert "disk" not in str(caught.value)
