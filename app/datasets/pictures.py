"""One encoded picture becomes bytes of grey or of red, green and blue."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Those that Pillow reads by itself. Others start programs (EPS) or are hardly ever trained on.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 89_478_485  # beyond it, Pillow suspects a bomb too
MAX_SIDE = 512  # pixels of the longer side that are kept

Pixels = NDArray[np.uint8]


class BadPicture(Exception):
    """It is not a picture that can be read."""


class HugePicture(BadPicture):
    """It has too many pixels to be unfolded."""


def decode(data: bytes) -> Pixels:
    """(C, H, W) with C = 1 or 3, turned upright, at most 512 pixels long. Raises BadPicture."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return to_planes(_prepare(image))
    except (BadPicture, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise HugePicture(f"it has more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # hostile files make a decoder raise anything
        raise BadPicture(_explain(data)) from error


def to_planes(image: Image.Image) -> Pixels:
    array = np.asarray(image, dtype=np.uint8)  # (H, W) or (H, W, 3)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.ascontiguousarray(planes)


def shrink(image: Image.Image) -> Image.Image:
    """At most 512 pixels long, each of them a mean over those it stands for."""
    longer = max(image.size)
    if longer <= MAX_SIDE:
        return image
    return image.resize(_scale(image.size), Image.Resampling.BICUBIC, reducing_gap=3.0)


def _scale(size: tuple[int, int]) -> tuple[int, int]:
    longer = max(size)
    width, height = (max(1, round(side * MAX_SIDE / longer)) for side in size)
    return width, height


def _prepare(image: Image.Image) -> Image.Image:
    """The first frame; the colour profile is not looked at."""
    if image.width * image.height > MAX_PIXELS:
        raise HugePicture(f"it has more than {MAX_PIXELS:,} pixels")
    width, height = _scale(image.size)
    if max(image.size) > MAX_SIDE:
        image.draft(image.mode, (3 * width, 3 * height))  # a JPEG unfolds to less at once
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    return shrink(_flatten(image))


def _flatten(image: Image.Image) -> Image.Image:
    """Grey ("L") or colour ("RGB"); what is transparent shows white."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise BadPicture("its pixels have 32 bits: save it with 8 bits for each colour")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, colour).convert(mode)
    return image if image.mode == mode else image.convert(mode)


def _explain(data: bytes) -> str:
    if not data:
        return "it is empty"
    if data.startswith(b"%!PS"):
        return "EPS is not read: save it as PNG"
    return f"it is damaged, or none of {', '.join(FORMATS)}"
