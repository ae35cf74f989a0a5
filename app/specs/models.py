"""Model families. `worker/models/<type>.py` builds the module that `type` names."""

from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from app.specs.base import Fraction, Spec

Task = Literal["regression", "classification"]
# What a model eats: encoded columns (N, F), token numbers (N, T), steps (N, T, D), pixels
# (N, C, H, W). `inputs` of the counts below: (F,), (distinct tokens,), (D,), (C, H, W); (D, T) if
# every row has T steps.
Taken = Literal["table", "tokens", "sequence", "image"]
Shape = tuple[int, ...]
Width = Annotated[int, Field(ge=1, le=65_536)]
Activation = Literal["relu", "gelu", "tanh", "silu"]
AskedTask = Annotated[
    Literal["auto", "regression", "classification"],
    Field(
        description="auto: classification for category targets and for whole numbers with at most "
        "20 distinct values, else regression."
    ),
]


class FamilySpec(Spec):
    takes: ClassVar[tuple[Taken, ...]] = ("table",)

    def kept_per_row(self, _inputs: Shape) -> int:
        """Numbers that training holds for each row of a batch, where they are many. `inputs` here
        end with the tokens or steps of the longest row."""
        return 0


class DeepSpec(FamilySpec):
    """Families for both tasks."""

    task: AskedTask = "auto"

    def tasks(self) -> tuple[Task, ...]:
        return ("regression", "classification") if self.task == "auto" else (self.task,)


class LinearSpec(FamilySpec):
    """Linear regression: one weight per encoded input column and a bias."""

    type: Literal["linear"] = "linear"
    bias: bool = Field(default=True, description="Learn an intercept.")

    def tasks(self) -> tuple[Task, ...]:
        return ("regression",)

    def parameter_count(self, inputs: Shape, outputs: int) -> int:
        return outputs * (inputs[0] + self.bias)


class LogisticSpec(FamilySpec):
    """Logistic regression: binary with one logit, multinomial with one logit per class."""

    type: Literal["logistic"] = "logistic"
    bias: bool = Field(default=True, description="Learn an intercept per logit.")

    def tasks(self) -> tuple[Task, ...]:
        return ("classification",)

    def parameter_count(self, inputs: Shape, outputs: int) -> int:
        return outputs * (inputs[0] + self.bias)


class MLPSpec(DeepSpec):
    """A fully connected network: linear layers with an activation and dropout between them."""

    takes: ClassVar[tuple[Taken, ...]] = ("table", "image")

    type: Literal["mlp"] = "mlp"
    hidden: list[Width] = Field(
        default=[64, 64], min_length=1, max_length=64, description="Width of each hidden layer."
    )
    activation: Activation = "relu"
    dropout: Fraction = Field(default=0.0, description="Probability of zeroing a hidden unit.")

    def parameter_count(self, inputs: Shape, outputs: int) -> int:
        widths = [prod(inputs), *self.hidden, outputs]
        return sum((i + 1) * o for i, o in pairwise(widths))


class CNNSpec(DeepSpec):
    """A convolutional network: 2-D over images, 1-D over tokens of text and over sequences."""

    takes: ClassVar[tuple[Taken, ...]] = ("tokens", "sequence", "image")

    type: Literal["cnn"] = "cnn"
    over: Literal["auto", "tokens", "sequence", "image"] = Field(
        default="auto", description="What the input column holds. auto: as it does."
    )
    embedding: Width = Field(default=128, description="Numbers per token.")
    channels: list[Width] = Field(
        default=[64], min_length=1, max_length=100, description="Of each block, per kernel."
    )
    kernels: list[Annotated[int, Field(ge=1, le=101)]] = Field(
        default=[3], min_length=1, max_length=8, description="Widths that stand side by side."
    )
    norm: Literal["batch", "none"] = "none"
    activation: Activation = "relu"
    pool: Literal["max", "average", "none"] = Field(
        default="none", description="Joins two places into one after each block."
    )
    residual: bool = Field(default=False, description="Adds the input of a block to its output.")
    gather: Literal["auto", "max", "average", "flatten"] = Field(
        default="auto",
        description="From all places to one row. auto: flatten for images and forecasts, else max.",
    )
    hidden: list[Width] = Field(
        default=[], max_length=16, description="Dense layers between the blocks and the output."
    )
    dropout: Fraction = Field(default=0.0, description="Probability of zeroing a number.")

    def parameter_count(self, inputs: Shape, outputs: int) -> int:
        tokens = self.over == "tokens"
        width, total = (self.embedding, inputs[0] * self.embedding) if tokens else (inputs[0], 0)
        flat = self.over == "image"
        for each in self.channels:
            made = each * len(self.kernels)
            total += each * sum(width * kernel ** (1 + flat) + 1 for kernel in self.kernels)
            total += 2 * made if self.norm == "batch" else 0
            total += made * (width + 1) if self.residual and width != made else 0
            width = made
        first = width * prod(self.list_places(inputs)[-1]) if self.gather == "flatten" else width
        return total + sum((i + 1) * o for i, o in pairwise([first, *self.hidden, outputs]))

    def list_places(self, inputs: Shape) -> list[Shape]:
        """Height and width of images, or steps, before each block, and after the last."""
        places, odd = [inputs[1:]], len(inputs) == 2  # a step without another is joined with none
        for _ in self.channels:
            halved = self.pool != "none" and min(places[-1], default=1) > 1
            places.append(tuple((side + odd) // 2 for side in places[-1]) if halved else places[-1])
        return places

    def kept_per_row(self, inputs: Shape) -> int:
        maps = 2 + (self.norm == "batch") + self.residual + (self.dropout > 0)
        sides = zip(self.channels, self.list_places(inputs), strict=False)
        return sum(maps * len(self.kernels) * each * prod(place) for each, place in sides)


class RNNSpec(DeepSpec):
    """A recurrent network (Elman, LSTM or GRU) over tokens of text and over sequences."""

    takes: ClassVar[tuple[Taken, ...]] = ("tokens", "sequence")

    type: Literal["rnn"] = "rnn"
    over: Literal["auto", "tokens", "sequence"] = Field(
        default="auto", description="What the input column holds. auto: as it does."
    )
    cell: Literal["rnn", "lstm", "gru"] = "lstm"
    embedding: Width = Field(default=128, description="Numbers per token.")
    hidden: Width = Field(default=128, description="Units per layer and direction.")
    layers: int = Field(default=1, ge=1, le=16)
    bidirectional: bool = Field(default=False, description="Also read from the end.")
    pool: Literal["last", "max", "average"] = Field(
        default="last", description="The state after the last token, or over all of them."
    )
    dropout: Fraction = Field(default=0.0, description="Probability of zeroing a number.")

    def parameter_count(self, inputs: Shape, outputs: int) -> int:
        tokens = self.over == "tokens"
        width, total = (self.embedding, inputs[0] * self.embedding) if tokens else (inputs[0], 0)
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[self.cell] * self.hidden
        directions = 1 + self.bidirectional
        for _ in range(self.layers):
            total += directions * gates * (width + self.hidden + 2)
            width = directions * self.hidden
        return total + (width + 1) * outputs

    def kept_per_row(self, inputs: Shape) -> int:
        """Of each step what goes into a layer, its gates and its state."""
        gates = {"rnn": 1, "gru": 3, "lstm": 4}[self.cell]
        width = self.embedding if self.over == "tokens" else inputs[0]
        made = (1 + self.bidirectional) * self.hidden
        return inputs[1] * (width + self.layers * made * (gates + 2))


ModelSpec = Annotated[
    LinearSpec | LogisticSpec | MLPSpec | CNNSpec | RNNSpec, Field(discriminator="type")
]
Family = type[LinearSpec | LogisticSpec | MLPSpec | CNNSpec | RNNSpec]
FAMILIES: tuple[Family, ...] = get_args(get_args(ModelSpec)[0])
