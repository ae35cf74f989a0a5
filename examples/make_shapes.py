"""Draws pictures of ten kinds of shapes, 32 x 32 in colour, into one folder for each kind.

    python examples/make_shapes.py shapes.zip [--count 1000] [--seed 0]

Every picture has a place, a size and two colours of its own, and some noise. The archive is what
`trainsmith datasets upload` takes; the same seed gives the same pictures. Needs Pillow.
"""

import argparse
import io
import math
import random
import zipfile
from collections.abc import Callable

from PIL import Image, ImageDraw

SIDE = 32  # pixels
NOISE = 0.15  # share of each pixel
Corners = list[tuple[float, float]]
Draw = Callable[[ImageDraw.ImageDraw, float, float, float, tuple[int, int, int]], None]


def list_corners(x: float, y: float, radii: list[float], turn: float) -> Corners:
    """As many as there are radii, around (x, y)."""
    angles = [turn + 2 * math.pi * number / len(radii) for number in range(len(radii))]
    return [
        (x + radius * math.sin(angle), y - radius * math.cos(angle))
        for radius, angle in zip(radii, angles, strict=True)
    ]


def polygon(*shares: float, turn: float = 0.0) -> Draw:
    """Corners at `shares` of the radius, the first one on top unless turned."""
    return lambda draw, x, y, r, colour: draw.polygon(
        list_corners(x, y, [r * share for share in shares], turn), fill=colour
    )


def box(left: float, top: float, right: float, bottom: float) -> Draw:
    return lambda draw, x, y, r, colour: draw.rectangle(
        (x + left * r, y + top * r, x + right * r, y + bottom * r), fill=colour
    )


def disk(width: float | None = None) -> Draw:
    """`width` of the line, as a share of the radius; None: filled."""

    def draw_disk(
        draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: tuple[int, int, int]
    ) -> None:
        place = (x - r, y - r, x + r, y + r)
        if width is None:
            draw.ellipse(place, fill=colour)
        else:
            draw.ellipse(place, outline=colour, width=max(1, round(width * r)))

    return draw_disk


def both(first: Draw, second: Draw) -> Draw:
    def draw_both(
        draw: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: tuple[int, int, int]
    ) -> None:
        first(draw, x, y, r, colour)
        second(draw, x, y, r, colour)

    return draw_both


SHAPES: dict[str, Draw] = {
    "disk": disk(),
    "ring": disk(width=0.3),
    "square": polygon(1, 1, 1, 1, turn=math.pi / 4),
    "diamond": polygon(1, 0.6, 1, 0.6),
    "triangle": polygon(1, 1, 1),
    "wedge": polygon(1, 1, 0.2, 1, turn=math.pi / 4),
    "star": polygon(*[1, 0.4] * 5),
    "plus": both(box(-1, -0.25, 1, 0.25), box(-0.25, -1, 0.25, 1)),
    "bar": box(-1, -0.25, 1, 0.25),
    "pillar": box(-0.25, -1, 0.25, 1),
}


def draw_picture(shape: str, rng: random.Random) -> Image.Image:
    dark = [rng.randrange(128) for _ in range(3)]
    bright = [rng.randrange(128, 256) for _ in range(3)]
    ground, colour = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    image = Image.new("RGB", (SIDE, SIDE), (ground[0], ground[1], ground[2]))
    radius = rng.uniform(0.2, 0.4) * SIDE
    x, y = (rng.uniform(radius, SIDE - radius) for _ in range(2))
    SHAPES[shape](ImageDraw.Draw(image), x, y, radius, (colour[0], colour[1], colour[2]))
    noise = Image.frombytes("RGB", image.size, rng.randbytes(3 * SIDE * SIDE))
    return Image.blend(image, noise, NOISE)


def write_archive(path: str, count: int, seed: int) -> None:
    rng = random.Random(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            shape = list(SHAPES)[number % len(SHAPES)]
            buffer = io.BytesIO()
            draw_picture(shape, rng).save(buffer, "PNG")
            archive.writestr(f"{shape}/{number:04}.png", buffer.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="the archive to write, such as shapes.zip")
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_archive(options.path, options.count, options.seed)


if __name__ == "__main__":
    main()
