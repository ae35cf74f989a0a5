"""Losses. `worker/losses/<type>.py` computes the loss that `type` names."""

from typing import Annotated, Literal

from pydantic import Field

from app.specs.base import Fraction, Spec


class MSESpec(Spec):
    """Mean squared error."""

    type: Literal["mse"] = "mse"


class MAESpec(Spec):
    """Mean absolute error."""

    type: Literal["mae"] = "mae"


class HuberSpec(Spec):
    """Squared near zero, absolute beyond `delta` standard deviations of the target."""

    type: Literal["huber"] = "huber"
    delta: float = Field(default=1.0, gt=0, le=1e6)


class CrossEntropySpec(Spec):
    """Negative log-likelihood of the softmax over one logit per class."""

    type: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Fraction = 0.0


class BinaryCrossEntropySpec(Spec):
    """Negative log-likelihood of a sigmoid over one logit; for targets of two classes, one or
    several."""

    type: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    label_smoothing: Fraction = 0.0


class FocalSpec(Spec):
    """Cross-entropy times (1 - p)^gamma, p being the probability of the true class.

    Rows that are told apart well count less (Lin et al., 2017).
    """

    type: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0, le=100)


class QuantileSpec(Spec):
    """The pinball loss: predicts the value that a share `q` of the targets lies below."""

    type: Literal["quantile"] = "quantile"
    q: float = Field(default=0.5, gt=0, lt=1)


class PoissonSpec(Spec):
    """Counts: the model predicts the logarithm of their expectation; no target below 0."""

    type: Literal["poisson"] = "poisson"


LossSpec = Annotated[
    MSESpec
    | MAESpec
    | HuberSpec
    | QuantileSpec
    | PoissonSpec
    | CrossEntropySpec
    | BinaryCrossEntropySpec
    | FocalSpec,
    Field(discriminator="type"),
]
REGRESSION_LOSSES = ("mse", "mae", "huber", "quantile", "poisson")
CLASSIFICATION_LOSSES = ("cross_entropy", "binary_cross_entropy", "focal")
LABEL_LOSSES = ("binary_cross_entropy", "focal")  # of several targets of two classes each
