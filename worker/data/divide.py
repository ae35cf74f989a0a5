"""Divides rows by a column: whole groups, the order of time, or as the column says."""

from datetime import UTC, datetime

import torch
from torch import Tensor

from app.specs.shares import count_share
from worker.data.cells import RawColumn
from worker.data.split import Split
from worker.engine.errors import DataError

PARTS = ("train", "validation", "test")


def split_by_group(groups: list[str], validation: float, test: float, seed: int) -> Split:
    """No group is in two parts. Groups are shuffled, and a part takes whole ones until it has its
    share of the rows; the last group always trains."""
    names = sorted(set(groups))
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    sizes = dict.fromkeys(names, 0)
    for group in groups:
        sizes[group] += 1
    waiting, part_of = [names[number] for number in order], {}
    for part, share in (("validation", validation), ("test", test)):
        taken = 0
        while taken < count_share(len(groups), share) and len(waiting) > 1:
            name = waiting.pop()
            part_of[name] = part
            taken += sizes[name]
    return to_split([part_of.get(group, "train") for group in groups])


def split_by_time(times: list[float], validation: float, test: float) -> Split:
    """The earliest rows train, the latest are tested on; ties keep the order of the file."""
    order = sorted(range(len(times)), key=times.__getitem__)
    tested = count_share(len(times), test)
    held_out = count_share(len(times), validation)
    trained = max(0, len(times) - held_out - tested)
    parts = ["train"] * trained + ["validation"] * held_out + ["test"] * tested
    part_of = dict(zip(order, parts, strict=False))
    return to_split([part_of[row] for row in range(len(times))])


def split_by_column(values: list[str], column: str) -> Split:
    for row, value in enumerate(values, start=1):
        if value not in PARTS:
            raise DataError(
                f"Column {column!r}, row {row}: {value[:40]!r} is none of {', '.join(PARTS)}.",
                hint="Correct the cell, or divide the rows otherwise: dataset.split.by.",
            )
    return to_split(values)


def to_split(parts: list[str]) -> Split:
    rows: dict[str, list[int]] = {part: [] for part in PARTS}
    for row, part in enumerate(parts):
        rows[part].append(row)
    return Split(*(torch.tensor(rows[part], dtype=torch.long) for part in PARTS))


def read_times(values: RawColumn, column: str) -> list[float]:
    """Numbers as they are; ISO 8601 in seconds, UTC where it names no zone."""
    if isinstance(values, Tensor):
        times: list[float] = values.tolist()
        return times
    assert isinstance(values, list)
    return [to_seconds(value or "", column, row) for row, value in enumerate(values, start=1)]


def to_seconds(text: str, column: str, row: int) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DataError(
            f"Column {column!r}, row {row}: {text[:40]!r} is no ISO 8601 time.",
            hint="Correct the cell, or choose another dataset.split.column.",
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
