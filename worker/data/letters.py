"""Numbers of characters and bytes, which need no search for words: all of a chunk at once."""

from itertools import chain

import numpy as np

from worker.data.cells import RawColumn
from worker.data.mapped import Array
from worker.data.text import UNKNOWN, TokensInput, clean

CODE_POINTS = 0x110000


def number_rows(tokens: TokensInput, values: RawColumn) -> tuple[Array, Array]:
    """What `tokens.number` answers, end to end (Z,), and the length of each row (N,)."""
    if tokens.tokenizer not in ("character", "byte"):
        rows = tokens.number(values)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths
    texts = clean(values, tokens.lowercase)
    letters = read_bytes if tokens.tokenizer == "byte" else read_characters
    codes, lengths = letters(texts, tokens.max_length)
    numbers = list_numbers(tokens)[codes]
    empty = lengths == 0
    places = (np.cumsum(lengths) - lengths)[empty]  # an empty text is one unknown token
    return np.insert(numbers, places, UNKNOWN), lengths + empty


def read_characters(texts: list[str], longest: int) -> tuple[Array, Array]:
    cut = [text[:longest] for text in texts]
    codes = np.frombuffer("".join(cut).encode("utf-32-le", "surrogatepass"), "<u4")
    return codes, np.fromiter(map(len, cut), np.int64, len(cut))


def read_bytes(texts: list[str], longest: int) -> tuple[Array, Array]:
    cut = [text.encode(errors="replace")[:longest] for text in texts]
    return np.frombuffer(b"".join(cut), np.uint8), np.fromiter(map(len, cut), np.int64, len(cut))


def list_numbers(tokens: TokensInput) -> Array:
    """The number of each code."""
    numbers = np.full(CODE_POINTS, UNKNOWN, np.int32)
    for number, token in enumerate(tokens.vocabulary, start=2):
        numbers[int(token, 16) if tokens.tokenizer == "byte" else ord(token)] = number
    return numbers
