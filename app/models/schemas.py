"""What can be trained, and with what: everything that a job spec can name."""

from typing import Any

from pydantic import BaseModel, Field

from app.specs.models import Task


class Variant(BaseModel):
    """One choice of `type`."""

    type: str
    description: str
    # `schema` is also a method of BaseModel, which pydantic keeps for old code only
    schema_: dict[str, Any] = Field(alias="schema", description="JSON Schema of its fields.")
    defaults: dict[str, Any]


class TaskVariant(Variant):
    tasks: list[Task]


class MetricInfo(BaseModel):
    name: str
    tasks: list[Task]
    better: str = Field(description="`lower` or `higher`.")


class Catalogue(BaseModel):
    """`data` holds the model families."""

    data: list[TaskVariant]
    optimizers: list[Variant]
    schedules: list[Variant]
    losses: list[TaskVariant]
    metrics: list[MetricInfo]
