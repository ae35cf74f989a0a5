from collections import Counter

import pytest
import torch

from worker.data.split import apportion, share_out, split_rows


@pytest.mark.parametrize("rows", [3, 10, 57, 1000])
@pytest.mark.parametrize("stratify", [False, True])
def test_parts_are_exact_and_disjoint(rows: int, stratify: bool) -> None:
    labels = ["ab"[row % 2] for row in range(rows)] if stratify else None
    split = split_rows(rows, 0.1, 0.2, seed=1, labels=labels)
    parts = [split.train, split.validation, split.test]
    assert sorted(torch.cat(parts).tolist()) == list(range(rows))
    assert len(split.validation) == max(1, round(rows * 0.1))
    assert len(split.test) == max(1, round(rows * 0.2))


def test_classes_keep_their_shares() -> None:
    labels = ["a"] * 70 + ["b"] * 20 + ["c"] * 10
    split = split_rows(100, 0.2, 0.2, seed=0, labels=labels)
    for part in (split.validation, split.test):
        assert Counter(labels[row] for row in part.tolist()) == {"a": 14, "b": 4, "c": 2}


def test_every_class_stays_in_training() -> None:
    labels = ["a"] * 20 + ["b", "b", "c"]
    split = split_rows(23, 0.4, 0.4, seed=0, labels=labels)
    assert {labels[row] for row in split.train.tolist()} == {"a", "b", "c"}


def test_the_seed_decides() -> None:
    first, again, other = (split_rows(50, 0.2, 0.2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.test, other.test)


def test_a_part_that_is_not_asked_for_is_empty() -> None:
    split = split_rows(5, 0.0, 0.0, seed=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (5, 0, 0)


def test_an_empty_class_changes_nothing() -> None:
    for sizes in ([4, 9, 7], [1, 1, 1], [2, 30, 1]):
        with_gap = [sizes[0], 0, *sizes[1:]]
        for wanted in range(sum(sizes) + 1):
            counts = share_out(wanted, sizes)
            assert share_out(wanted, with_gap) == [counts[0], 0, *counts[1:]]


def test_seats_go_by_largest_remainder() -> None:
    assert apportion(10, [53, 24, 23]) == [5, 3, 2]
    assert apportion(3, [1, 1, 1]) == [1, 1, 1]
