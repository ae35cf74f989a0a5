"""The learning-rate finder: a trial before training that chooses `training.optimizer.lr`."""

from pydantic import Field, model_validator

from app.specs.base import LearningRate, Spec


class LRFinderSpec(Spec):
    """Trains a copy of the model while the rate rises from `min` to `max`, each step by the same
    factor, and takes a tenth of the rate at which the smoothed loss was lowest."""

    min: LearningRate = 1e-6
    max: LearningRate = 1.0
    steps: int = Field(default=100, ge=20, le=1000, description="Of the trial, at most.")

    @model_validator(mode="after")
    def refuse_empty(self) -> "LRFinderSpec":
        if self.min >= self.max:
            raise ValueError("min must be below max")
        return self
