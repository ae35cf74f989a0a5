"""Attributions of a table: per column, and per term of a text. F encoded inputs, C columns."""

from typing import Any

import torch
from torch import Tensor, nn

from worker.data.columns import CategoryInput, NumberInput
from worker.data.features import ColumnInput
from worker.data.text import TermsInput
from worker.explain.view import Question, Shown, rank, tidy

SHOWN_COLUMNS = 50  # of each row
SHOWN_TERMS = 20  # of each row and text
SUMMARY = 100  # columns, and terms


class TableView:
    empty = (
        "every number missing, so that the mean or median of the training rows stands in; every "
        "category unknown; no terms"
    )

    def __init__(self, model: nn.Module, columns: list[ColumnInput]) -> None:
        self.model, self.columns = model, columns
        widths = torch.tensor([column.width for column in columns])
        self.starts = (widths.cumsum(0) - widths).tolist()
        self.owners = torch.arange(len(columns)).repeat_interleave(widths)  # (F,)
        self.empty_row = make_empty_row(columns)
        self.rows = 0
        self.sizes = torch.zeros(len(columns), dtype=torch.float64)
        self.term_sizes = torch.zeros(len(self.owners), dtype=torch.float64)

    def ask(self, row: Tensor) -> Question:
        return Question(self.model, row, self.empty_row.to(row.device))

    def show(self, row: Tensor, attributions: Tensor) -> Shown:
        cells, parts = row[0].cpu(), attributions[0].double().cpu()  # (F,)
        sums = torch.zeros(len(self.columns), dtype=torch.float64)
        sums.index_add_(0, self.owners, parts)  # (C,)
        self.rows += 1
        self.sizes += sums.abs()
        self.term_sizes += parts.abs()
        shown = [
            {
                "column": self.columns[place].name,
                **self.describe(place, cells, parts),
                "attribution": tidy(sums[place].item()),
            }
            for place in rank(sums.abs(), SHOWN_COLUMNS)
        ]
        return Shown({"columns": shown})

    def describe(self, place: int, cells: Tensor, parts: Tensor) -> dict[str, Any]:
        column, start = self.columns[place], self.starts[place]
        block = slice(start, start + column.width)
        if not isinstance(column, TermsInput):
            return {"value": read_value(column, cells[block])}
        terms = parts[block]
        return {
            "terms": [
                {"term": column.terms[term], "attribution": tidy(terms[term].item())}
                for term in rank(terms.abs(), SHOWN_TERMS)
            ]
        }

    def summarise(self) -> dict[str, list[dict[str, Any]]]:
        """Means over the rows of the size of attributions."""
        columns = [
            {"column": self.columns[place].name, "mean_absolute": self.average(self.sizes, place)}
            for place in rank(self.sizes, SUMMARY)
        ]
        terms = self.list_terms()
        return {"columns": columns, **({"terms": terms} if terms else {})}

    def list_terms(self) -> list[dict[str, Any]]:
        texts = [isinstance(column, TermsInput) for column in self.columns]
        sizes = torch.where(torch.tensor(texts)[self.owners], self.term_sizes, 0.0)
        found = []
        for place in rank(sizes, SUMMARY):
            owner = int(self.owners[place])
            column = self.columns[owner]
            assert isinstance(column, TermsInput)
            found.append(
                {
                    "column": column.name,
                    "term": column.terms[place - self.starts[owner]],
                    "mean_absolute": self.average(sizes, place),
                }
            )
        return found

    def average(self, sizes: Tensor, place: int) -> float:
        return tidy(sizes[place].item() / self.rows)


def make_empty_row(columns: list[ColumnInput]) -> Tensor:
    """(1, F)"""
    row = torch.zeros(1, sum(column.width for column in columns))
    start = 0
    for column in columns:
        if isinstance(column, NumberInput) and column.std:
            row[0, start] = (column.fill - column.mean) / column.std
        start += column.width
    return row


def read_value(column: NumberInput | CategoryInput, cells: Tensor) -> float | str | None:
    """What was encoded as `cells`; None for a missing or unknown category."""
    if isinstance(column, NumberInput):
        constant = column.std == 0
        return tidy(column.fill if constant else cells.item() * column.std + column.mean)
    return column.categories[int(cells.argmax())] if cells.any() else None
