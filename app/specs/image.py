"""How the pictures of an image column become pixels of one size."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from app.specs.base import Spec

MAX_SIDE = 512  # pixels, as at upload
DEFAULT_SIDE = 64
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class ImageSpec(Spec):
    """Pictures of another size are scaled to this one (bilinear, antialiased)."""

    height: Side | None = Field(
        default=None,
        description="Pixels, together with `width`. Unset: the size of the pictures where all of "
        "them have the same, else 64 x 64.",
    )
    width: Side | None = None
    channels: Literal["auto", 1, 3] = Field(
        default="auto", description="1: grey. 3: colour. auto: 3 where any picture has colour."
    )

    @model_validator(mode="after")
    def _names_both_sides(self) -> "ImageSpec":
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width belong together: set both, or none")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W), once nothing is left open."""
        assert self.height is not None
        assert self.width is not None
        assert self.channels != "auto"
        return self.channels, self.height, self.width
