"""How a column of sequences becomes what a model reads step by step."""

from typing import Literal

from pydantic import Field

from app.specs.base import Spec


class SequenceSpec(Spec):
    """Of each row so many steps, every number of a step scaled as `dataset.scale` says."""

    max_length: int | None = Field(
        default=None, ge=1, le=100_000, description="Steps of a row, at most. Unset: all."
    )
    keep: Literal["last", "first"] = Field(
        default="last", description="Which steps stay of a row that is longer."
    )
