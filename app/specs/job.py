"""The body of `POST /v1/jobs`."""

from typing import Annotated

from pydantic import Field

from app.specs.base import Name, SafeText, Spec
from app.specs.data import DatasetSpec
from app.specs.models import ModelSpec
from app.specs.training import (
    CheckpointsSpec,
    EvaluationSpec,
    LimitsSpec,
    ResourcesSpec,
    TrainingSpec,
)

LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[SafeText, Field(max_length=200)]


class JobSpec(Spec):
    """One training request."""

    name: Name
    model: ModelSpec
    dataset: DatasetSpec
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    checkpoints: CheckpointsSpec = CheckpointsSpec()
    limits: LimitsSpec = LimitsSpec()
    resources: ResourcesSpec = ResourcesSpec()
    priority: int = Field(default=0, ge=-100, le=100, description="Higher runs first.")
    labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=64)

    @property
    def dividing_columns(self) -> list[str]:
        """The columns that say where a row belongs; no inputs unless they are listed."""
        folds = self.evaluation.cross_validation
        names = [self.dataset.split.column, folds.column if folds else None]
        return list(dict.fromkeys(name for name in names if name is not None))
