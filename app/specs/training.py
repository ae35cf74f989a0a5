"""How a model is trained, measured and saved."""

from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from app.specs.augment import Augmentations
from app.specs.base import ColumnName, Seed, Spec
from app.specs.explanations import ExplanationSpec
from app.specs.losses import LossSpec
from app.specs.lr_finder import LRFinderSpec
from app.specs.optimizers import AdamSpec, OptimizerSpec
from app.specs.schedules import ConstantSpec, ScheduleSpec

ClassificationMetric = Literal[
    "accuracy",
    "exact_match",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "roc_auc",
    "pr_auc",
    "log_loss",
    "brier",
    "calibration_error",
]
RegressionMetric = Literal["r2", "mae", "mse", "rmse", "median_absolute_error", "mape"]
MetricName = Literal[ClassificationMetric, RegressionMetric]
CLASSIFICATION_METRICS: tuple[MetricName, ...] = get_args(ClassificationMetric)
REGRESSION_METRICS: tuple[MetricName, ...] = get_args(RegressionMetric)
DEFAULT_METRICS: dict[str, list[MetricName]] = {
    "regression": ["r2", "mae", "rmse"],
    "classification": ["accuracy", "f1"],
}
LOWER_IS_BETTER = (
    "loss",
    "log_loss",
    "brier",
    "calibration_error",
    "mae",
    "mse",
    "rmse",
    "median_absolute_error",
    "mape",
)
if TYPE_CHECKING:
    Monitor = str  # mypy reads no Literal that is computed
else:
    Monitor = Literal[tuple(f"validation/{name}" for name in ("loss", *get_args(MetricName)))]


ClassWeights = Annotated[
    dict[str, Annotated[float, Field(ge=0, le=1e6)]], Field(min_length=1, max_length=10_000)
]


class EarlyStoppingSpec(Spec):
    """Stop once `metric` has not improved by more than `min_delta` for `patience` epochs."""

    metric: Monitor = "validation/loss"
    patience: int = Field(default=5, ge=1, le=1_000_000, description="Epochs without improvement.")
    min_delta: float = Field(default=0.0, ge=0, le=1e9)


class TrainingSpec(Spec):
    epochs: int = Field(
        default=20, ge=1, le=1_000_000, description="Passes over the training rows."
    )
    batch_size: int = Field(
        default=64, ge=1, le=1_048_576, description="Rows computed at once; see `accumulate`."
    )
    accumulate: int = Field(
        default=1,
        ge=1,
        le=65_536,
        description="Batches per optimizer step: a step of `accumulate * batch_size` rows in the "
        "memory of one batch.",
    )
    optimizer: OptimizerSpec = AdamSpec()
    lr_finder: LRFinderSpec | None = Field(
        default=None, description="A trial before training that replaces `optimizer.lr`."
    )
    schedule: ScheduleSpec = ConstantSpec()
    loss: Literal["auto"] | LossSpec = Field(
        default="auto",
        description="auto: mse for regression, binary_cross_entropy for two classes, "
        "cross_entropy for more.",
    )
    class_weights: Literal["balanced"] | ClassWeights | None = Field(
        default=None,
        description="Times the loss of a row of that class; a class left out has 1. balanced: "
        "rows / (classes * rows of the class), over the training rows, for each target.",
    )
    l1: float = Field(default=0.0, ge=0, le=1e3, description="Adds l1 * sum |w| to the loss.")
    l2: float = Field(default=0.0, ge=0, le=1e3, description="Adds l2 * sum w^2 to the loss.")
    augment: Augmentations = Field(
        default=[],
        description="Random changes of the training rows, in this order, anew at every step.",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, le=1e9, description="Scale gradients down to this global L2 norm."
    )
    weight_decay_on: Literal["all", "weights"] = Field(
        default="all",
        description="What the optimizer's weight_decay applies to; weights: not to biases and the "
        "scales of norms.",
    )
    ema_decay: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Keep a moving average of the weights, and measure and export that one. The "
        "decay rises to this value: at most (1 + step) / (10 + step).",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="auto: bfloat16 autocast on GPUs that are fast at it. Text as counts of terms "
        "is always trained on in float32.",
    )
    early_stopping: EarlyStoppingSpec | None = None
    log_every: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Steps per train/* point (a mean over them). Unset: at most ~1000 points.",
    )
    seed: Seed = 0


class CrossValidationSpec(Spec):
    """Train a model per fold of the rows that are not test rows, measured on the rows held out."""

    folds: int = Field(default=5, ge=2, le=100, description="Each one is trained from scratch.")
    by: Literal["random", "group", "time"] | None = Field(
        default=None,
        description="group: rows with the same value of `column` are held out together. time: each "
        "fold is measured on the rows that follow its training rows. Unset: as `dataset.split`.",
    )
    column: ColumnName | None = Field(default=None, description="What `by` looks at.")
    stratify: bool | None = Field(
        default=None, description="Keep class shares equal. Unset: yes for classification."
    )
    seed: Seed = 0

    @model_validator(mode="after")
    def _names_its_column(self) -> "CrossValidationSpec":
        looks = self.by in ("group", "time")
        if looks != (self.column is not None):
            raise ValueError(
                f"by {self.by!r} needs a column"
                if looks
                else "only by group or by time looks at a column; leave column out, or set by"
            )
        if looks and self.stratify:
            raise ValueError("only random folds can be stratified")
        return self


class EvaluationSpec(Spec):
    metrics: list[MetricName] | None = Field(
        default=None, min_length=1, max_length=20, description="Unset: the usual ones of the task."
    )
    importance: Literal["permutation"] | None = Field(
        default=None,
        description="permutation: how much worse the scores are once a column is shuffled.",
    )
    explanations: list[ExplanationSpec] = Field(
        default=[], max_length=8, description="What single predictions rest on, as files."
    )
    cross_validation: CrossValidationSpec | None = Field(
        default=None, description="Measure on several folds besides; takes as many trainings."
    )

    @field_validator("explanations")
    @classmethod
    def _each_once(cls, explanations: list[ExplanationSpec]) -> list[ExplanationSpec]:
        if len({each.type for each in explanations}) < len(explanations):
            raise ValueError("lists a type twice")
        return explanations


class CheckpointsSpec(Spec):
    every_seconds: float = Field(default=60, ge=0.1, le=86_400)
    keep_last: int = Field(default=2, ge=1, le=100)
    keep_best: int = Field(default=1, ge=0, le=1, description="1: keep the best by `monitor`.")
    monitor: Monitor = "validation/loss"


class LimitsSpec(Spec):
    max_seconds: float = Field(default=86_400, gt=0, le=31_536_000, description="Time in training.")
    max_attempts: int = Field(default=3, ge=1, le=100, description="Runs that failed on their own.")


class ResourcesSpec(Spec):
    device: Literal["auto", "cpu", "cuda"] = "auto"
