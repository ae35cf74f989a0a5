"""Optimizers. `worker/optimizers/<type>.py` builds the torch optimizer that `type` names."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.specs.base import Fraction, LearningRate, Spec

WeightDecay = Annotated[float, Field(ge=0, le=10)]
Epsilon = Annotated[float, Field(gt=1e-20, le=1)]


class SGDSpec(Spec):
    """Stochastic gradient descent with optional (Nesterov) momentum."""

    type: Literal["sgd"] = "sgd"
    lr: LearningRate = 0.01
    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: WeightDecay = 0.0

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> "SGDSpec":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamSpec(Spec):
    """Adam (Kingma and Ba, 2015). `weight_decay` is an L2 term in the gradient."""

    type: Literal["adam"] = "adam"
    lr: LearningRate = 0.001
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0


class AdamWSpec(Spec):
    """AdamW (Loshchilov and Hutter, 2019): decay is applied to the weights, not the gradient."""

    type: Literal["adamw"] = "adamw"
    lr: LearningRate = 0.001
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.01


class RMSpropSpec(Spec):
    """RMSprop (Hinton, 2012): steps divided by a running root mean square of the gradient."""

    type: Literal["rmsprop"] = "rmsprop"
    lr: LearningRate = 0.001
    alpha: Fraction = Field(default=0.99, description="Smoothing of the squared gradient.")
    eps: Epsilon = 1e-8
    momentum: Fraction = 0.0
    weight_decay: WeightDecay = 0.0


class AdagradSpec(Spec):
    """Adagrad (Duchi et al., 2011): steps divided by the root of the sum of squared gradients."""

    type: Literal["adagrad"] = "adagrad"
    lr: LearningRate = 0.01
    lr_decay: float = Field(
        default=0.0, ge=0, le=1, description="The rate is divided by 1 + step * lr_decay."
    )
    eps: Epsilon = 1e-10
    weight_decay: WeightDecay = 0.0


class NAdamSpec(Spec):
    """Adam with Nesterov momentum (Dozat, 2016). Decay is applied to the weights, as in AdamW."""

    type: Literal["nadam"] = "nadam"
    lr: LearningRate = 0.002
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: Epsilon = 1e-8
    momentum_decay: float = Field(default=0.004, ge=0, le=1)
    weight_decay: WeightDecay = 0.0


class LionSpec(Spec):
    """Lion (Chen et al., 2023): the sign of a momentum; wants a third to a tenth of AdamW's rate,
    and as much more decay."""

    type: Literal["lion"] = "lion"
    lr: LearningRate = 1e-4
    beta1: Fraction = 0.9
    beta2: Fraction = 0.99
    weight_decay: WeightDecay = 0.0


class MuonSpec(Spec):
    """Muon (Jordan, 2024) for matrices: momentum made orthogonal; AdamW for all other parameters.

    Updates of matrices are scaled to the size of AdamW's, so `lr` means the same for both.
    """

    type: Literal["muon"] = "muon"
    lr: LearningRate = 0.001
    momentum: Fraction = 0.95
    nesterov: bool = True
    iterations: int = Field(default=5, ge=1, le=20, description="Of Newton and Schulz.")
    beta1: Fraction = Field(default=0.9, description="Of AdamW, as are beta2 and eps.")
    beta2: Fraction = 0.999
    eps: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.01


OptimizerSpec = Annotated[
    SGDSpec | AdamSpec | AdamWSpec | RMSpropSpec | AdagradSpec | NAdamSpec | LionSpec | MuonSpec,
    Field(discriminator="type"),
]
