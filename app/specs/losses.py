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
    """Negative log-likelihood of a sigmoid over one logit; for targets of two classes."""

    type: Literal["binary_cross_entropy"] = "binary_cross_entropy"


LossSpec = Annotated[
    MSESpec | MAESpec | HuberSpec | CrossEntropySpec | BinaryCrossEntropySpec,
    Field(discriminator="type"),
]
REGRESSION_LOSSES = ("mse", "mae", "huber")
CLASSIFICATION_LOSSES = ("cross_entropy", "binary_cross_entropy")
