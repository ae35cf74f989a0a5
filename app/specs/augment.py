"""Augmentations. `worker/augment/<type>.py` changes training rows as `type` says.

Each has its own random choices at every step, a function of training.seed and the step alone.
Validation and test rows are never changed.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from app.specs.base import Fraction, Spec
from app.specs.models import Shape, Taken

Probability = Annotated[float, Field(gt=0, le=1)]
Pixels = Annotated[int, Field(ge=1, le=4096)]
Strength = Annotated[float, Field(ge=0, le=1)]


class RowsSpec(Spec):
    takes: ClassVar[tuple[Taken, ...]]

    def misfit(self, _shape: Shape) -> str | None:
        """Why rows of this shape cannot be changed so, in the words of an error, if they cannot."""
        return None


class PictureSpec(RowsSpec):
    takes: ClassVar[tuple[Taken, ...]] = ("image",)


class ShiftSpec(PictureSpec):
    """Moves each image by up to `pixels` in both directions; zeros come in."""

    type: Literal["shift"] = "shift"
    pixels: Pixels = Field(default=2, description="At most, each way.")

    def misfit(self, shape: Shape) -> str | None:
        return _refuse_length("pixels", self.pixels, min(shape[1:]) - 1, shape)


class FlipSpec(PictureSpec):
    """Mirrors each image with a probability. For both directions, name it twice."""

    type: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical"] = Field(
        default="horizontal", description="horizontal: left and right change places."
    )
    probability: Probability = 0.5


class CropSpec(PictureSpec):
    """Makes each image larger by `pixels` on every side and cuts the old size out anywhere."""

    type: Literal["crop"] = "crop"
    pixels: Pixels = Field(default=4, description="Added on every side.")
    fill: Literal["mirror", "edge"] = Field(
        default="mirror", description="What is added: the image mirrored, or its last pixels."
    )

    def misfit(self, shape: Shape) -> str | None:
        return _refuse_length("pixels", self.pixels, min(shape[1:]) - 1, shape)


class RotateSpec(PictureSpec):
    """Turns each image around its middle; zeros come in at the corners."""

    type: Literal["rotate"] = "rotate"
    degrees: float = Field(default=10.0, gt=0, le=180, description="At most, each way.")


class ColourSpec(PictureSpec):
    """Multiplies brightness, contrast and saturation of each image by factors of 1 - s to 1 + s,
    s being what stands here; in that order."""

    type: Literal["colour"] = "colour"
    brightness: Strength = 0.2
    contrast: Strength = 0.2
    saturation: Strength = Field(default=0.0, description="Only for images in colour.")

    @model_validator(mode="after")
    def refuse_nothing(self) -> "ColourSpec":
        if not (self.brightness or self.contrast or self.saturation):
            raise ValueError("set brightness, contrast or saturation above 0, or leave colour out")
        return self

    def misfit(self, shape: Shape) -> str | None:
        if self.saturation and shape[0] != 3:
            return "grey images have no saturation; set colour.saturation to 0"
        return None


class CutoutSpec(PictureSpec):
    """Sets a square of each image to zero, its middle anywhere (DeVries and Taylor, 2017)."""

    type: Literal["cutout"] = "cutout"
    size: Pixels = Field(default=8, description="Of a side, in pixels.")

    def misfit(self, shape: Shape) -> str | None:
        return _refuse_length("size", self.size, min(shape[1:]), shape)


class MixupSpec(RowsSpec):
    """Mixes each row with another one of its step: `share * row + (1 - share) * other`, and the
    losses towards both targets alike (Zhang et al., 2018)."""

    takes: ClassVar[tuple[Taken, ...]] = ("image", "sequence", "table")

    type: Literal["mixup"] = "mixup"
    alpha: float = Field(
        default=0.2,
        ge=0.01,
        le=100,
        description="One share per step, of the distribution Beta(alpha, alpha).",
    )


class NoiseSpec(RowsSpec):
    """Adds Gaussian noise to every number that the model sees."""

    takes: ClassVar[tuple[Taken, ...]] = ("sequence", "table")

    type: Literal["noise"] = "noise"
    std: float = Field(
        default=0.1, gt=0, le=100, description="In standard deviations of a scaled input."
    )


class MaskSpec(RowsSpec):
    """Sets a share of the steps of each sequence to 0, the mean of a scaled input."""

    takes: ClassVar[tuple[Taken, ...]] = ("sequence",)

    type: Literal["mask"] = "mask"
    share: float = Field(default=0.1, gt=0, lt=1, description="Of the steps of a row.")
    contiguous: bool = Field(default=True, description="One run of steps, else single ones.")


class WordDropoutSpec(RowsSpec):
    """Makes tokens unknown, each with a probability; a row of which none would be left stays."""

    takes: ClassVar[tuple[Taken, ...]] = ("tokens",)

    type: Literal["word_dropout"] = "word_dropout"
    probability: Fraction = Field(default=0.1, gt=0)


def _refuse_length(field: str, asked: int, most: int, shape: Shape) -> str | None:
    if asked <= most:
        return None
    _, height, width = shape
    fix = f"set {field} to at most {most}" if most else "leave it out"
    return f"{asked} pixels do not fit images of {height} x {width}; {fix}"


AugmentSpec = Annotated[
    ShiftSpec
    | FlipSpec
    | CropSpec
    | RotateSpec
    | ColourSpec
    | CutoutSpec
    | MixupSpec
    | NoiseSpec
    | MaskSpec
    | WordDropoutSpec,
    Field(discriminator="type"),
]
AUGMENTATIONS: tuple[type[RowsSpec], ...] = get_args(get_args(AugmentSpec)[0])


def refuse_two_mixups(augment: Sequence[RowsSpec]) -> Sequence[RowsSpec]:
    if sum(isinstance(each, MixupSpec) for each in augment) > 1:
        raise ValueError("mixup can be there once: a row of four has no pair of targets")
    return augment


Augmentations = Annotated[
    list[AugmentSpec], Field(max_length=16), AfterValidator(refuse_two_mixups)
]
