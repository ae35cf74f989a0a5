"""What becomes of a column of pictures."""

from itertools import pairwise

from app.jobs.findings import Findings, Loc
from app.specs import JobSpec
from app.specs.columns import Column, ImageFacts
from app.specs.image import DEFAULT_SIDE, ImageSpec
from app.specs.models import CNNSpec, Shape

LOC: Loc = ["dataset", "image"]


def choose_image(found: Findings, spec: JobSpec, column: Column) -> ImageSpec:
    """The size and the channels that the model sees."""
    facts = column.image
    if facts is None:  # no picture at all: the caller has refused it, whatever it would become
        facts = ImageFacts(channels=1, height_min=1, height_max=1, width_min=1, width_max=1)
    asked = spec.dataset.image or ImageSpec()
    height, width = asked.height, asked.width
    if height is None or width is None:
        height, width = choose_size(found, column.name, facts)
    channels = facts.channels if asked.channels == "auto" else asked.channels
    return ImageSpec(height=height, width=width, channels=3 if channels == 3 else 1)


def choose_size(found: Findings, name: str, facts: ImageFacts) -> tuple[int, int]:
    if facts.height_min == facts.height_max and facts.width_min == facts.width_max:
        return facts.height_max, facts.width_max
    found.warn(
        LOC,
        f"the pictures of {name!r} are {facts.height_min} to {facts.height_max} pixels high and "
        f"{facts.width_min} to {facts.width_max} wide; all are scaled to {DEFAULT_SIDE} x "
        f"{DEFAULT_SIDE}: set dataset.image to choose another size",
    )
    return DEFAULT_SIDE, DEFAULT_SIDE


def refuse_missing_images(found: Findings, loc: Loc, column: Column) -> None:
    if column.missing:
        found.refuse(
            loc,
            f"column {column.name!r} has no picture in {column.missing} rows, first in row "
            f"{column.first_missing_row}; leave these rows out, or bring their pictures",
        )


def warn_of_lost_pooling(found: Findings, model: CNNSpec, shape: Shape) -> None:
    """A block that has one line of pixels left passes it on as it is."""
    places = model.list_places(shape)
    lost = [number for number, (a, b) in enumerate(pairwise(places), start=1) if a == b]
    if model.pool != "none" and lost:
        height, width = places[-1]
        found.warn(
            ["model", "channels"],
            f"from block {lost[0]} on nothing is pooled: the image is {height} x {width} by then",
        )
