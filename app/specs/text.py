"""How text columns become what a model takes: counts of terms for tables, tokens for sequences."""

from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from app.specs.base import ColumnName, Spec

Gram = Annotated[int, Field(ge=1, le=10)]
Grams = TypeVar("Grams", "CharactersSpec", "TermsSpec")
Columns = Annotated[
    list[ColumnName] | None,
    Field(min_length=1, description="Which columns are text. Unset: inputs of kind text."),
]


class CharactersSpec(Spec):
    """Terms of characters that stand beside those of words."""

    ngram_min: Gram = Field(default=2, description="Characters of the shortest term.")
    ngram_max: Gram = Field(default=5, description="Characters of the longest term.")
    min_df: int = Field(default=1, ge=1, description="Keep terms of at least so many rows.")
    max_features: int = Field(
        default=50_000, ge=1, le=1_000_000, description="Keep the most frequent terms."
    )

    @model_validator(mode="after")
    def _ngrams_rise(self) -> "CharactersSpec":
        return refuse_falling(self)


class TermsSpec(Spec):
    """Which terms of the training rows are kept. Terms are runs of words or of characters."""

    columns: Columns = None
    analyzer: Literal["word", "token", "character"] = Field(
        default="word",
        description="word: of two letters or more; token: words of any length, and punctuation.",
    )
    ngram_min: Gram = Field(default=1, description="Words or characters of the shortest term.")
    ngram_max: Gram = Field(default=1, description="Words or characters of the longest term.")
    lowercase: bool = True
    min_df: int = Field(default=1, ge=1, description="Keep terms of at least so many rows.")
    max_df: float = Field(
        default=1.0, gt=0, le=1, description="Leave out terms of more than this share of rows."
    )
    max_features: int = Field(
        default=50_000, ge=1, le=1_000_000, description="Keep the most frequent terms."
    )

    characters: CharactersSpec | None = Field(
        default=None, description="Also terms of characters, counted and weighted apart."
    )

    @model_validator(mode="after")
    def _ngrams_rise(self) -> "TermsSpec":
        return refuse_falling(self)

    @model_validator(mode="after")
    def _characters_are_asked_for_once(self) -> "TermsSpec":
        if self.characters and self.analyzer == "character":
            raise ValueError("the analyzer counts characters already; leave characters out")
        return self

    def split_analyzers(self) -> list[Self]:
        """One spec for each kind of term."""
        own = self.model_copy(update={"characters": None})
        if self.characters is None:
            return [own]
        changes = self.characters.model_dump()
        return [own, own.model_copy(update={"analyzer": "character", **changes})]


def refuse_falling(spec: Grams) -> Grams:
    if spec.ngram_min > spec.ngram_max:
        raise ValueError("ngram_min must not be above ngram_max")
    return spec


class BagOfWordsSpec(TermsSpec):
    """How often each term occurs in a row."""

    type: Literal["bag_of_words"] = "bag_of_words"
    binary: bool = Field(default=False, description="Only whether a term occurs.")


class TfIdfSpec(TermsSpec):
    """Counts of terms, weighted by how rare a term is, each row scaled to length 1."""

    type: Literal["tf_idf"] = "tf_idf"
    sublinear: bool = Field(default=False, description="1 + log(count) instead of the count.")


class TokensSpec(Spec):
    """The text as a sequence of tokens, for models that read it in order."""

    type: Literal["tokens"] = "tokens"
    columns: Columns = None
    tokenizer: Literal["word", "character", "byte", "bpe", "wordpiece"] = "word"
    vocabulary: int = Field(
        default=20_000, ge=300, le=1_000_000, description="Distinct tokens, at most."
    )
    min_count: int = Field(
        default=1, ge=1, description="Rarer tokens (bpe, wordpiece: pairs) are unknown."
    )
    lowercase: bool = True
    max_length: int = Field(
        default=256, ge=1, le=100_000, description="Tokens of a row; the rest is cut off."
    )


TextSpec = Annotated[BagOfWordsSpec | TfIdfSpec | TokensSpec, Field(discriminator="type")]
