"""The columns that a job takes as inputs, and what they come to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod

from app.jobs.sequences import get_facts
from app.jobs.sizes import FLOAT_BYTES, LONG_BYTES, count_width
from app.specs.columns import Column
from app.specs.forecast import ForecastSpec
from app.specs.image import ImageSpec
from app.specs.models import Shape, Taken
from app.specs.sequence import SequenceSpec
from app.specs.text import TermsSpec, TextSpec, TokensSpec

TERMS_PER_ROW = 200  # of a text as counts of terms; nobody has counted yet
UNUSABLE = ("text", "time", "image", "sequence")


@dataclass(frozen=True)
class Inputs:
    """`text` lists its columns. `shape` is the largest that it can come to."""

    columns: list[Column]
    takes: Taken
    text: TextSpec | None = None
    image: ImageSpec | None = None
    sequence: SequenceSpec | None = None
    forecast: ForecastSpec | None = None

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def plain(self) -> list[Column]:
        """The columns of a table that are not text."""
        return [c for c in self.columns if c.name not in list_text_columns(self.text)]

    @property
    def shape(self) -> Shape:
        if self.forecast is not None:
            return (len(self.columns), self.forecast.window)
        if self.image is not None:
            return self.image.shape
        if self.sequence is not None:
            return (get_facts(self.columns[0]).width,)
        if isinstance(self.text, TokensSpec):
            return (258 if self.text.tokenizer == "byte" else self.text.vocabulary,)
        terms = len(list_text_columns(self.text)) * count_terms(self.text)
        return (count_width(self.plain) + terms,)

    @property
    def longest_shape(self) -> Shape:
        """With the tokens or steps of the longest row."""
        if self.sequence is not None:
            return (*self.shape, self.most_steps)
        return (
            (*self.shape, self.text.max_length) if isinstance(self.text, TokensSpec) else self.shape
        )

    @property
    def most_steps(self) -> int:
        assert self.sequence is not None
        most = get_facts(self.columns[0]).steps_max
        return min(most, self.sequence.max_length or most)

    @property
    def row_bytes(self) -> int:
        """As a row is held in memory, at most."""
        if self.forecast is not None:  # windows share their rows
            return FLOAT_BYTES * len(self.columns) + LONG_BYTES * (3 + 2 * self.forecast.horizon)
        if self.image is not None:
            return prod(self.image.shape)
        if self.sequence is not None:
            return FLOAT_BYTES * self.shape[0] * self.most_steps
        if isinstance(self.text, TokensSpec):
            return LONG_BYTES * self.text.max_length
        kinds = len(self.text.split_analyzers()) if self.text else 0
        terms = TERMS_PER_ROW * kinds * len(list_text_columns(self.text))
        return FLOAT_BYTES * count_width(self.plain) + (LONG_BYTES + FLOAT_BYTES) * terms


def count_terms(text: TermsSpec | None) -> int:
    """Of one column, at most."""
    return sum(part.max_features for part in text.split_analyzers()) if text else 0


def list_text_columns(text: TextSpec | None) -> list[str]:
    return (text.columns or []) if text else []


def absent(name: str, columns: Iterable[str]) -> str:
    names = list(columns)
    close = get_close_matches(name, names, n=3, cutoff=0.5) or names[:5]
    return f"the dataset has no column {name!r}; it has {quote(close)}"


def quote(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown
