"""Forecasts: the next values of a series from its latest rows."""

from dataclasses import dataclass
from itertools import pairwise

from pydantic import Field

from app.specs.base import ColumnName, Spec
from app.specs.shares import count_share


@dataclass(frozen=True)
class Span:
    """Windows of one series, by the row from 0 that follows each: from `first` to before `end`."""

    first: int
    end: int

    @property
    def count(self) -> int:
        return max(0, self.end - self.first)


class ForecastSpec(Spec):
    """The latest `window` rows tell the next `horizon` values of the target."""

    window: int = Field(default=24, ge=1, le=100_000, description="Rows that the model sees.")
    horizon: int = Field(
        default=1, ge=1, le=1000, description="Values it predicts, of the rows that follow."
    )
    column: ColumnName | None = Field(
        default=None, description="Orders the rows in time. Unset: they are in order."
    )
    group: ColumnName | None = Field(
        default=None, description="Tells several series apart; no window reaches into another."
    )
    difference: bool = Field(
        default=False,
        description="The model sees the target as distances from its latest value, and predicts "
        "the distance of the next ones from it.",
    )

    @property
    def needed(self) -> int:
        """Rows of a series that give one window and what follows it."""
        return self.window + self.horizon

    def divide(self, rows: int, validation: float, test: float) -> tuple[Span, Span, Span]:
        """The windows of a series of so many rows that train, validate and test.

        The latest rows are tested on and those before them validated on: the shares say which rows
        are predicted. A window may look back over a border, and what is predicted lies within one
        part.
        """
        tested, held_out = count_share(rows, test), count_share(rows, validation)
        trained = max(0, rows - held_out - tested)
        borders = (0, trained, trained + held_out, rows)
        spans = [
            Span(max(first, self.window), end - self.horizon + 1)
            for first, end in pairwise(borders)
        ]
        return spans[0], spans[1], spans[2]
