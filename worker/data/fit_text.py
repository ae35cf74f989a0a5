"""What is learned from the texts of the training rows: terms and their weights, vocabularies."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from app.specs.text import BagOfWordsSpec, TfIdfSpec, TokensSpec
from worker.data.cells import RawColumn
from worker.data.text import CONTINUED, TermsInput, TokensInput, choose_tokenizer, clean, list_terms

RESERVED = 2  # token numbers that stand for no token of the vocabulary

# ---------------------------------------------------------------- terms


def fit_all_terms(
    name: str, values: RawColumn, spec: BagOfWordsSpec | TfIdfSpec
) -> list[TermsInput]:
    return [fit_terms(name, values, part) for part in spec.split_analyzers()]


def fit_terms(name: str, values: RawColumn, spec: BagOfWordsSpec | TfIdfSpec) -> TermsInput:
    """Sorted terms, with the smoothed inverse of the share of rows that hold each."""
    counts: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    texts = clean(values, spec.lowercase)
    for text in texts:
        terms = list_terms(text, spec.analyzer, spec.ngram_min, spec.ngram_max)
        counts.update(terms)
        rows.update(set(terms))
    kept = sorted(term for term, n in rows.items() if spec.min_df <= n <= spec.max_df * len(texts))
    kept = sorted(sorted(kept, key=lambda term: -counts[term])[: spec.max_features])
    weights = [math.log((1 + len(texts)) / (1 + rows[term])) + 1 for term in kept]
    options: dict[str, Any] = spec.model_dump(
        mode="json", exclude={"columns", "type", "characters"}
    )
    tf_idf = spec.type == "tf_idf"
    return TermsInput(name, spec.type, options, tuple(kept), tuple(weights) if tf_idf else ())


# ---------------------------------------------------------------- tokens


def fit_tokens(name: str, values: RawColumn, spec: TokensSpec) -> TokensInput:
    return fit_vocabulary(name, clean(values, spec.lowercase), spec)


def fit_vocabulary(name: str, texts: Iterable[str], spec: TokensSpec) -> TokensInput:
    """`texts` are clean, and may be gone through more than once."""
    merges: list[tuple[str, str]] = []
    match spec.tokenizer:
        case "bpe":
            vocabulary, merges = train_bpe(texts, spec)
        case "wordpiece":
            vocabulary = train_wordpiece(texts, spec)
        case _:
            vocabulary = count_tokens(texts, spec)
    return TokensInput(
        name, spec.tokenizer, spec.lowercase, spec.max_length, tuple(vocabulary), tuple(merges)
    )


def count_tokens(texts: Iterable[str], spec: TokensSpec) -> list[str]:
    """The most frequent ones first."""
    split = choose_tokenizer(spec.tokenizer)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
    known = sorted((-n, token) for token, n in counts.items() if n >= spec.min_count)
    return [token for _, token in known[: spec.vocabulary - RESERVED]]


def train_bpe(texts: Iterable[str], spec: TokensSpec) -> tuple[list[str], list[tuple[str, str]]]:
    trained = train(Tokenizer(models.BPE()), trainers.BpeTrainer, texts, spec, [])
    merges = json.loads(trained.to_str())["model"]["merges"]
    return list_vocabulary(trained), [(first, second) for first, second in merges]


def train_wordpiece(texts: Iterable[str], spec: TokensSpec) -> list[str]:
    """The trainer numbers the pieces of one letter in the order of a hash table, which breaks ties
    another way each time. Naming all of them in advance makes every run the same."""
    letters: set[str] = set()
    for text in texts:
        letters.update(text)
    pieces = [CONTINUED + letter for letter in sorted(letters) if not letter.isspace()]
    return list_vocabulary(
        train(Tokenizer(models.WordPiece()), trainers.WordPieceTrainer, texts, spec, pieces)
    )


def train(
    tokenizer: Tokenizer, trainer: Any, texts: Iterable[str], spec: TokensSpec, special: list[str]
) -> Tokenizer:
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    size = max(spec.vocabulary - RESERVED, len(special) + 1)
    tokenizer.train_from_iterator(
        texts,
        trainer(
            vocab_size=size,
            min_frequency=spec.min_count,
            special_tokens=special,
            show_progress=False,
        ),
    )
    return tokenizer


def list_vocabulary(tokenizer: Tokenizer) -> list[str]:
    numbers: dict[str, int] = tokenizer.get_vocab()
    return sorted(numbers, key=numbers.__getitem__)
