"""From raw columns to tensors: fitted on training rows only, kept as JSON, read from anything."""

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from worker.data.cells import CellError
from worker.data.columns import fit_category, fit_number, measure
from worker.data.features import Features, read_rows
from worker.data.targets import fit_classes, fit_value

NAN = math.nan


def column(*cells: float) -> Tensor:
    return torch.tensor(cells, dtype=torch.float64)


def make_features() -> Features:
    number = fit_number("n", column(1, 2, 6, NAN), "mean", "standard")
    category = fit_category("k", "category", ["x", "y", None, "x"])
    boolean = fit_category("b", "boolean", ["true", "false"])
    return Features([number, category, boolean], fit_classes("y", ["10", "9"]))


def test_numbers_get_mean_0_and_standard_deviation_1() -> None:
    features = Features(
        [fit_number("n", column(1, 2, 6), "mean", "standard")], fit_classes("y", [])
    )
    encoded, _ = features.encode({"n": column(1, 2, 6)})
    torch.testing.assert_close(encoded.mean(), torch.tensor(0.0))
    torch.testing.assert_close(encoded.std(correction=0), torch.tensor(1.0))


@pytest.mark.parametrize(("impute", "fill"), [("mean", 4.0), ("median", 2.5)])
def test_missing_numbers_are_filled(impute: str, fill: float) -> None:
    number = fit_number("n", column(1, NAN, 2, 3, 10), impute, "none")
    assert number.fill == fill
    encoded, _ = Features([number], fit_classes("y", [])).encode({"n": column(NAN, 7)})
    assert encoded.squeeze(1).tolist() == [fill, 7]


@pytest.mark.parametrize("scale", ["standard", "none"])
@pytest.mark.parametrize("cells", [(3.0, 3.0), (NAN, 3.0), (NAN, NAN)])
def test_a_constant_column_becomes_0(cells: tuple[float, ...], scale: str) -> None:
    number = fit_number("n", column(*cells), "mean", scale)
    encoded, _ = Features([number], fit_classes("y", [])).encode({"n": column(3, NAN, 1e300)})
    assert encoded.tolist() == [[0], [0], [0]]


def test_measuring_does_not_overflow() -> None:
    mean, std = measure(column(1e308, -1e308))
    assert (mean, std) == (0, 1e308)


def test_categories_are_one_hot_and_missing_is_one_of_them() -> None:
    category = fit_category("k", "category", ["y", "x", None])
    encoded, unknown = Features([category], fit_classes("y", [])).encode(
        {"k": ["x", "y", None, "z"]}
    )
    assert encoded.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert unknown == {"k": 1}


def test_a_missing_category_that_training_has_not_seen_is_unknown() -> None:
    category = fit_category("k", "category", ["x"])
    encoded, unknown = Features([category], fit_classes("y", [])).encode({"k": [None]})
    assert encoded.tolist() == [[0]]
    assert unknown == {"k": 1}


def test_whole_number_labels_are_sorted_as_numbers() -> None:
    assert fit_classes("y", ["10", "9", "-1"]).classes == ("-1", "9", "10")
    assert fit_classes("y", ["10", "9", "a"]).classes == ("10", "9", "a")


def test_values_come_back_in_their_own_units() -> None:
    target = fit_value("y", column(10, 20, 60))
    encoded = target.encode(column(10, 20, 60))
    torch.testing.assert_close(target.decode(encoded.float().unsqueeze(1)), column(10, 20, 60))


def test_a_constant_value_is_predicted_exactly() -> None:
    target = fit_value("y", column(0.1, 0.1, 0.1))
    assert target.decode(torch.zeros(1, 1)).tolist() == [0.1]


def test_one_logit_and_two_give_the_same_probabilities() -> None:
    target = fit_classes("y", ["a", "b"])
    logits = torch.tensor([[-1.0], [0.5]])
    both = torch.cat([torch.zeros(2, 1), logits], 1)
    torch.testing.assert_close(target.decode(logits), target.decode(both))


def test_the_state_survives_json_exactly() -> None:
    features = make_features()
    state = json.loads(json.dumps(features.to_json(), allow_nan=False))
    assert Features.from_json(state) == features


@pytest.mark.parametrize(
    ("cell", "same"),
    [("2", 2), (" 2.0 ", 2), (2.0, 2), ("NA", None), ("", None), (NAN, None), ("2e0", 2)],
)
def test_a_number_may_be_written_in_many_ways(cell: Any, same: Any) -> None:
    assert_same({"n": cell}, {"n": same})


@pytest.mark.parametrize(
    ("cell", "same"), [("TRUE", "true"), (True, "true"), (False, "false"), (" False", "false")]
)
def test_a_boolean_may_be_written_in_many_ways(cell: Any, same: Any) -> None:
    assert_same({"b": cell}, {"b": same})


def test_a_category_may_be_a_number() -> None:
    category = fit_category("k", "category", ["3", "true"])
    assert category.read([3, 3.0, "3", True, None, "?"]) == ["3", "3", "3", "true", None, None]


def test_a_text_that_training_knew_as_a_category_is_not_missing() -> None:
    assert fit_category("k", "category", ["NA", "x"]).read(["NA", "None"]) == ["NA", None]


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    features = make_features()
    base = {"n": 1, "k": "x", "b": "true"}
    rows = read_rows([{**base, **one}, {**base, **other}], features.inputs)
    first, second = features.encode(rows)[0]
    assert torch.equal(first, second)


@pytest.mark.parametrize("cell", ["abc", "1_000", "inf", math.inf, [1], "1,5"])
def test_a_cell_that_is_no_number_is_named(cell: Any) -> None:
    rows = [{"n": 1, "k": "x", "b": True}, {"n": cell, "k": "x", "b": True}]
    with pytest.raises(CellError, match=r"column 'n', row 2") as caught:
        read_rows(rows, make_features().inputs)
    assert (caught.value.column, caught.value.row) == ("n", 2)


def test_an_absent_input_is_named() -> None:
    with pytest.raises(CellError, match=r"column 'k', row 1: is absent"):
        read_rows([{"n": 1, "b": True}], make_features().inputs)
