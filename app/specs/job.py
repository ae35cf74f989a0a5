"""The body of `POST /v1/jobs`."""

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

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


EXAMPLES: list[JsonValue] = [
    {
        "name": "iris",
        "model": {"type": "mlp", "hidden": [32]},
        "dataset": {"id": f"ds_{'0' * 32}", "target": "species"},
    },
    {
        "name": "shapes",
        "model": {"type": "cnn", "channels": [16, 32], "pool": "max"},
        "dataset": {"id": f"ds_{'0' * 32}", "inputs": ["image"], "target": "label"},
        "training": {"epochs": 10, "augment": [{"type": "flip"}, {"type": "shift", "pixels": 3}]},
        "evaluation": {"explanations": [{"type": "integrated_gradients", "rows": 8}]},
    },
]


class JobSpec(Spec):
    """One training request."""

    model_config = ConfigDict(json_schema_extra={"examples": EXAMPLES})

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
