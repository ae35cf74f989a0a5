"""Text as counts of terms, for tables, or as numbered tokens, for models that read in order.

Travels inside every bundle. N rows, F terms, T tokens of the longest row.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from worker.data.cells import MISSING, RawColumn, to_text

WORD = re.compile(r"\b\w\w+\b")  # of terms: what scikit-learn counts as a word
PIECE = re.compile(r"\w+|[^\w\s]+")  # of tokens: what `tokenizers` calls Whitespace
SPACES = re.compile(r"\s\s+")
CONTINUED = "##"  # leads a WordPiece that does not start a word
PADDING, UNKNOWN = 0, 1  # token numbers; those of the vocabulary follow


def clean(values: RawColumn, lowercase: bool) -> list[str]:
    """A missing cell is an empty text."""
    assert isinstance(values, list)
    texts = ["" if value is None or value in MISSING else value for value in values]
    return [text.lower() for text in texts] if lowercase else texts


# ---------------------------------------------------------------- terms


def list_terms(text: str, analyzer: str, shortest: int, longest: int) -> list[str]:
    """Every run of `shortest` to `longest` words or characters."""
    glue = "" if analyzer == "character" else " "
    units: Any = SPACES.sub(" ", text)
    if analyzer != "character":
        units = (WORD if analyzer == "word" else PIECE).findall(text)
    return [
        glue.join(units[start : start + size])
        for size in range(shortest, longest + 1)
        for start in range(len(units) - size + 1)
    ]


@dataclass(frozen=True)
class TermsInput:
    """Counts of terms, as they are (bag_of_words) or weighted to rows of length 1 (tf_idf)."""

    name: str
    kind: str
    options: dict[str, Any]  # of the spec
    terms: tuple[str, ...]
    weights: tuple[float, ...]  # of each term; empty for bag_of_words

    @property
    def width(self) -> int:
        return len(self.terms)

    @property
    def example(self) -> str:
        return "some words"

    def read(self, cells: list[Any]) -> list[str | None]:
        return [to_text(cell) for cell in cells]

    def split(self, text: str) -> list[str]:
        options = self.options
        return list_terms(text, options["analyzer"], options["ngram_min"], options["ngram_max"])

    def encode(self, values: RawColumn) -> Tensor:
        """(N, F) in compressed rows."""
        numbers = {term: number for number, term in enumerate(self.terms)}
        starts, columns, cells = [0], [], []
        for text in clean(values, self.options["lowercase"]):
            counts = Counter(numbers[term] for term in self.split(text) if term in numbers)
            places = sorted(counts)
            columns += places
            cells += self.weigh(places, counts)
            starts.append(len(columns))
        return make_sparse(
            torch.tensor(starts), torch.tensor(columns), torch.tensor(cells), self.width
        )

    def weigh(self, places: list[int], counts: Counter[int]) -> list[float]:
        if self.kind == "bag_of_words":
            return [1.0 if self.options["binary"] else float(counts[each]) for each in places]
        sublinear = self.options["sublinear"]
        shares = [1 + math.log(counts[each]) if sublinear else counts[each] for each in places]
        weighted = [share * self.weights[each] for share, each in zip(shares, places, strict=True)]
        length = math.sqrt(math.fsum(value * value for value in weighted)) or 1.0
        return [value / length for value in weighted]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "options": self.options,
            "terms": list(self.terms),
            "weights": list(self.weights),
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> TermsInput:
        return TermsInput(**state | {name: tuple(state[name]) for name in ("terms", "weights")})


def make_sparse(starts: Tensor, columns: Tensor, cells: Tensor, width: int) -> Tensor:
    """(len(starts) - 1, width) in compressed rows, as nn.Linear takes them."""
    size = (len(starts) - 1, width)
    return torch.sparse_csr_tensor(starts, columns.long(), cells.float(), size)


def join_sparse(parts: list[Tensor]) -> Tensor:
    """Matrices of equally many rows, dense or in compressed rows, side by side: never dense."""
    rows, columns, cells, width = [], [], [], 0
    for part in parts:
        places = part.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
        rows.append(places.indices()[0])
        columns.append(places.indices()[1] + width)
        cells.append(places.values())
        width += part.shape[1]
    count = len(parts[0])
    order = (torch.cat(rows) * width + torch.cat(columns)).argsort()
    starts = torch.zeros(count + 1, dtype=torch.long)
    starts[1:] = torch.bincount(torch.cat(rows), minlength=count).cumsum(0)
    return make_sparse(starts, torch.cat(columns)[order], torch.cat(cells)[order], width)


# ---------------------------------------------------------------- tokens


@dataclass(frozen=True)
class TokensInput:
    """The one column that a model reads in order. Token numbers are places in the vocabulary + 2;
    0 fills rows up to the longest, 1 is any token that training has not seen."""

    name: str
    tokenizer: str
    lowercase: bool
    max_length: int
    vocabulary: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]  # of bpe, the earliest first

    takes = "tokens"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.vocabulary) + 2,)

    @property
    def example(self) -> str:
        return "some words"

    def read(self, cells: list[Any]) -> list[str | None]:
        return [to_text(cell) for cell in cells]

    def encode(self, values: RawColumn) -> Tensor:
        """(N, T) token numbers."""
        rows = self.number(values)
        encoded = torch.full((len(rows), max(map(len, rows), default=1)), PADDING)
        for place, row in enumerate(rows):
            encoded[place, : len(row)] = torch.tensor(row)
        return encoded

    def number(self, values: RawColumn) -> list[list[int]]:
        """The token numbers of each row. An empty text is one unknown token."""
        split = choose_tokenizer(self.tokenizer, self.vocabulary, self.merges)
        numbers = {token: number for number, token in enumerate(self.vocabulary, start=2)}
        return [
            [numbers.get(token, UNKNOWN) for token in split(text)[: self.max_length]] or [UNKNOWN]
            for text in clean(values, self.lowercase)
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": "tokens",
            "tokenizer": self.tokenizer,
            "lowercase": self.lowercase,
            "max_length": self.max_length,
            "vocabulary": list(self.vocabulary),
            "merges": [list(pair) for pair in self.merges],
        }

    @staticmethod
    def from_json(state: dict[str, Any]) -> TokensInput:
        merges = tuple((first, second) for first, second in state["merges"])
        rest = {key: state[key] for key in ("name", "tokenizer", "lowercase", "max_length")}
        return TokensInput(**rest, vocabulary=tuple(state["vocabulary"]), merges=merges)


Split = Callable[[str], list[str]]


def choose_tokenizer(
    name: str, vocabulary: tuple[str, ...] = (), merges: tuple[tuple[str, str], ...] = ()
) -> Split:
    match name:
        case "word":
            return split_words
        case "character":
            return list
        case "byte":
            return split_bytes
        case "bpe":
            ranks = {pair: rank for rank, pair in enumerate(merges)}
            return by_word(lambda word: merge_pairs(word, ranks))
    known = frozenset(vocabulary)
    return by_word(lambda word: find_pieces(word, known))


def split_words(text: str) -> list[str]:
    return PIECE.findall(text)


def split_bytes(text: str) -> list[str]:
    return [f"{byte:02x}" for byte in text.encode(errors="replace")]


def by_word(split: Split) -> Split:
    """Words come again and again: each is split once."""
    seen: dict[str, list[str]] = {}

    def split_text(text: str) -> list[str]:
        tokens: list[str] = []
        for word in PIECE.findall(text):
            if word not in seen:
                seen[word] = split(word)
            tokens += seen[word]
        return tokens

    return split_text


def merge_pairs(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding (Sennrich et al., 2016) of characters: the earliest merge comes first."""
    parts = list(word)
    while len(parts) > 1:
        rank, place = min(
            (ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairwise(parts))
        )
        if rank == len(ranks):
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def find_pieces(word: str, known: frozenset[str]) -> list[str]:
    """WordPiece: the longest known piece from the left; a word that does not go up is unknown."""
    pieces: list[str] = []
    start = 0
    while start < len(word):
        lead = CONTINUED if start else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if lead + word[start:end] in known), None)
        if end is None:
            return [""]
        pieces.append(lead + word[start:end])
        start = end
    return pieces
