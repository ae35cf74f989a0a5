"""A quick part of the crash matrix; `make chaos` runs the whole."""

import pytest

from tests.chaos.matrix import Case, Matrix

QUICK = [
    ("api.after_commit", "kill"),
    ("claim.before_commit", "kill"),
    ("supervisor.before_conclude", "kill"),
    ("recorder.before_commit", "kill"),
    ("recorder.after_commit", "freeze"),
    ("checkpoint.before_rename", "kill"),
    ("explanations.after_rename", "kill"),
    ("fold.after_rename", "kill"),
    ("checkpoint.before_sync", "raise"),
    ("train.step", "freeze"),
]


@pytest.fixture(scope="module")
def matrix():
    matrix = Matrix()
    yield matrix
    matrix.close()


@pytest.mark.parametrize(("point", "mode"), QUICK)
def test_a_fault_loses_doubles_and_bends_nothing(matrix, point, mode):
    case = matrix.run(Case(point, mode, seed=0))

    assert case.fired, "the fault point was never reached"
    assert case.violations == []
