"""Which data a job trains on, and how it is split and prepared."""

from typing import Literal

from pydantic import Field, model_validator

from app.specs.base import ColumnName, Fraction, Seed, Spec
from app.specs.text import TextSpec

DatasetFormat = Literal["csv", "tsv", "jsonl", "parquet", "text", "npz", "idx", "images"]
ColumnKind = Literal["number", "category", "boolean", "text", "time", "image", "sequence"]


class SplitSpec(Spec):
    """How rows are divided. Preparation is fitted on the training rows only."""

    validation: Fraction = Field(default=0.1, description="Share of rows measured every epoch.")
    test: Fraction | None = Field(
        default=None,
        description="Share of rows measured once, at the end. Unset: 0.1, or 0 with `test_id`.",
    )
    by: Literal["random", "group", "time", "column"] = Field(
        default="random",
        description="group: rows with the same value of `column` stay together. time: the latest "
        "rows by `column` are tested on. column: it says train, validation or test itself.",
    )
    column: ColumnName | None = Field(default=None, description="What `by` looks at.")
    stratify: bool | None = Field(
        default=None, description="Keep class shares equal. Unset: yes for classification."
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _names_its_column(self) -> "SplitSpec":
        if (self.by == "random") != (self.column is None):
            raise ValueError(
                f"by {self.by!r} looks at no column; leave column out"
                if self.by == "random"
                else f"by {self.by!r} needs a column"
            )
        if self.by != "random" and self.stratify:
            raise ValueError("only a random split can be stratified")
        return self

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "SplitSpec":
        if self.validation + (self.test or 0) >= 1:
            raise ValueError("validation and test together must stay below 1")
        return self


class DatasetSpec(Spec):
    """The dataset, its input columns and its target column."""

    id: str = Field(pattern=r"^ds_[0-9a-f]{32}$")
    target: ColumnName
    inputs: list[ColumnName] | None = Field(
        default=None, min_length=1, max_length=10_000, description="Unset: all but the target."
    )
    test_id: str | None = Field(
        default=None,
        pattern=r"^ds_[0-9a-f]{32}$",
        description="A dataset to measure on at the end.",
    )
    split: SplitSpec = SplitSpec()
    missing_target: Literal["error", "drop"] = Field(
        default="error", description="What to do with rows whose target is missing."
    )
    impute: Literal["mean", "median"] = Field(
        default="mean", description="What stands in for a missing number."
    )
    scale: Literal["standard", "none"] = Field(
        default="standard", description="standard: numbers get mean 0 and standard deviation 1."
    )

    text: TextSpec | None = Field(
        default=None,
        description="How text becomes numbers. Unset: tokens for models that read in order; "
        "others take no text.",
    )

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> "DatasetSpec":
        names = self.inputs or []
        if self.target in names:
            raise ValueError(f"the target {self.target!r} is also listed in inputs")
        if len(set(names)) != len(names):
            raise ValueError("inputs lists a column twice")
        return self
