"""Which data a job trains on, and how it is split and prepared."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from app.specs.base import ColumnName, Fraction, Seed, Spec
from app.specs.forecast import ForecastSpec
from app.specs.image import ImageSpec
from app.specs.sequence import SequenceSpec
from app.specs.text import TextSpec

DatasetFormat = Literal["csv", "tsv", "jsonl", "parquet", "text", "npz", "idx", "images"]
ColumnKind = Literal["number", "category", "boolean", "text", "time", "image", "sequence"]


class SplitSpec(Spec):
    """How rows are divided. Preparation is fitted on the training rows only."""

    validation: Fraction = Field(
        default=0.1,
        description="Share of rows measured every epoch. by column: of the training rows, where "
        "no row says validation.",
    )
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
        default=None,
        description="Keep class shares equal in what is drawn at random. Unset: yes for "
        "classification.",
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _names_its_column(self) -> "SplitSpec":
        if self.by == "random" and self.column is not None:
            raise ValueError("by 'random' looks at no column; leave column out")
        if self.by in ("group", "column") and self.column is None:
            raise ValueError(f"by {self.by!r} needs a column")
        if self.by in ("group", "time") and self.stratify:
            raise ValueError("only a random split can be stratified")
        return self

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "SplitSpec":
        if self.validation + (self.test or 0) >= 1:
            raise ValueError("validation and test together must stay below 1")
        return self


def _name_kind(target: Any) -> str:
    return "list" if isinstance(target, list) else "name"


Names = Annotated[list[ColumnName], Field(min_length=2, max_length=1000)]
TargetNames = Annotated[  # told apart first, so that an error is about what was meant
    Annotated[ColumnName, Tag("name")] | Annotated[Names, Tag("list")], Discriminator(_name_kind)
]


class DatasetSpec(Spec):
    """The dataset, its input columns and its target column or columns."""

    id: str = Field(pattern=r"^ds_[0-9a-f]{32}$")
    target: TargetNames = Field(
        description="The column to predict. Of a list, all at once: numbers, or columns of two "
        "classes each."
    )
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
    hold: Literal["auto", "memory", "disk"] = Field(
        default="auto",
        description="Where encoded rows lie during training. disk: in a file that is mapped and "
        "read ahead, shuffled within groups of blocks. auto: memory, or disk where they are large.",
    )
    text: TextSpec | None = Field(
        default=None,
        description="How text becomes numbers. Unset: tokens for models that read in order; "
        "others take no text.",
    )
    image: ImageSpec | None = Field(
        default=None, description="Size and colour of pictures. Unset: as the pictures are."
    )
    forecast: ForecastSpec | None = Field(
        default=None, description="Predict what follows the latest rows, instead of single rows."
    )
    sequence: SequenceSpec | None = Field(
        default=None, description="Which steps of a sequence are read. Unset: all of them."
    )

    @property
    def targets(self) -> list[str]:
        return [self.target] if isinstance(self.target, str) else self.target

    @field_validator("target", mode="before")
    @classmethod
    def _one_is_no_list(cls, target: Any) -> Any:
        return target[0] if isinstance(target, list) and len(target) == 1 else target

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> "DatasetSpec":
        names = set(self.inputs or [])
        for target in self.targets:
            if target in names and self.forecast is None:
                raise ValueError(f"the target {target!r} is also listed in inputs")
        if len(names) != len(self.inputs or []):
            raise ValueError("inputs lists a column twice")
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("target lists a column twice")
        return self

    @model_validator(mode="after")
    def _splits_by_time(self) -> "DatasetSpec":
        split = self.split
        if self.forecast is None:
            if split.by == "time" and split.column is None:
                raise ValueError("split by 'time' needs a column")
            return self
        if split.by != "time" and "by" in split.model_fields_set:
            raise ValueError(
                f"a forecast is tested on what comes last, so it cannot be split by {split.by!r}; "
                "leave split.by out"
            )
        if split.column not in (None, self.forecast.column):
            raise ValueError("a forecast is split in its own order; leave split.column out")
        if split.stratify:
            raise ValueError("a forecast has no classes to stratify; leave split.stratify out")
        return self
