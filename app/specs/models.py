"""Model families. `worker/models/<type>.py` builds the module that `type` names."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from app.specs.base import Fraction, Spec

Task = Literal["regression", "classification"]


class LinearSpec(Spec):
    """Linear regression: one weight per encoded input column and a bias."""

    type: Literal["linear"] = "linear"
    bias: bool = Field(default=True, description="Learn an intercept.")

    def tasks(self) -> tuple[Task, ...]:
        return ("regression",)

    def parameter_count(self, inputs: int, outputs: int) -> int:
        return outputs * (inputs + self.bias)


class LogisticSpec(Spec):
    """Logistic regression: binary with one logit, multinomial with one logit per class."""

    type: Literal["logistic"] = "logistic"
    bias: bool = Field(default=True, description="Learn an intercept per logit.")

    def tasks(self) -> tuple[Task, ...]:
        return ("classification",)

    def parameter_count(self, inputs: int, outputs: int) -> int:
        return outputs * (inputs + self.bias)


class MLPSpec(Spec):
    """A fully connected network: linear layers with an activation and dropout between them."""

    type: Literal["mlp"] = "mlp"
    hidden: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(
        default=[64, 64], min_length=1, max_length=64, description="Width of each hidden layer."
    )
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    dropout: Fraction = Field(default=0.0, description="Probability of zeroing a hidden unit.")
    task: Literal["auto", "regression", "classification"] = Field(
        default="auto",
        description="auto: classification for category targets and for whole numbers with at most "
        "20 distinct values, else regression.",
    )

    def tasks(self) -> tuple[Task, ...]:
        return ("regression", "classification") if self.task == "auto" else (self.task,)

    def parameter_count(self, inputs: int, outputs: int) -> int:
        widths = [inputs, *self.hidden, outputs]
        return sum((i + 1) * o for i, o in pairwise(widths))


ModelSpec = Annotated[LinearSpec | LogisticSpec | MLPSpec, Field(discriminator="type")]
FAMILIES: tuple[type[LinearSpec | LogisticSpec | MLPSpec], ...] = (
    LinearSpec,
    LogisticSpec,
    MLPSpec,
)
