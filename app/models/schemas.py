"""What can be trained, and with what: everything that a job spec can name."""

from typing import Any

from pydantic import BaseModel, Field

from app.specs.models import Taken, Task


class Variant(BaseModel):
    """One choice of `type`."""

    type: str
    description: str
    # `schema` is also a method of BaseModel, which pydantic keeps for old code only
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of its fields.")
    defaults: dict[str, Any]


class TaskVariant(Variant):
    tasks: list[Task]


class FamilyVariant(TaskVariant):
    takes: list[Taken] = Field(
        description="What it reads: a table of columns, or one column of text as tokens, of "
        "sequences or of images."
    )


class AugmentVariant(Variant):
    takes: list[Taken] = Field(description="The kinds of input that it changes.")


class MetricInfo(BaseModel):
    name: str
    tasks: list[Task]
    better: str = Field(description="`lower` or `higher`.")


class Catalogue(BaseModel):
    """`data` holds the model families."""

    data: list[FamilyVariant]
    optimizers: list[Variant]
    schedules: list[Variant]
    losses: list[TaskVariant]
    augmentations: list[AugmentVariant]
    explanations: list[Variant]
    metrics: list[MetricInfo]
