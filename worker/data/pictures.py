"""Pictures as rows bring them: files, their bytes, tensors, lists of numbers.

Travels inside every bundle. Files are read as they were at upload (app/datasets/pictures.py):
turned upright, without transparency, at most 512 pixels long. C channels (1 or 3), H and W pixels.
"""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

try:
    from PIL import Image as pillow
    from PIL import ImageOps
except ImportError:  # only files and large pictures need it
    pillow = None  # type: ignore[assignment]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 89_478_485
MAX_SIDE = 512  # pixels of the longer side that are kept
NO_PILLOW = "needs Pillow to be read: pip install pillow"


def read_picture(cell: Any) -> Tensor:
    """(C, H, W) uint8. Raises ValueError, which says what is wrong with the cell."""
    if isinstance(cell, (str, PathLike)):
        try:
            cell = Path(cell).read_bytes()
        except (OSError, ValueError):
            raise ValueError(f"no file {str(cell)[:200]!r} can be read") from None
    if isinstance(cell, (bytes, bytearray)):
        return decode_picture(bytes(cell))
    if pillow is not None and isinstance(cell, pillow.Image):
        return to_planes(upright_picture(cell.copy()))
    pixels = read_pixels(cell)
    if max(pixels.shape) <= MAX_SIDE:
        return pixels
    return to_planes(shrink_picture(to_pillow(pixels)))


# ---------------------------------------------------------------- numbers


def read_pixels(cell: Any) -> Tensor:
    """Of H x W, H x W x C or C x H x W whole numbers."""
    try:
        pixels = torch.as_tensor(cell)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError("is neither a picture nor its pixels") from None
    shape = tuple(pixels.shape)
    if pixels.dim() == 2:
        pixels = pixels[None]
    elif pixels.dim() == 3 and shape[2] in (1, 3):
        pixels = pixels.permute(2, 0, 1)
    if pixels.dim() != 3 or len(pixels) not in (1, 3) or 0 in shape:
        raise ValueError(f"has the shape {shape}, not H x W, H x W x C or C x H x W")
    return to_bytes(pixels)


def to_bytes(pixels: Tensor) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    if pixels.is_floating_point() or pixels.is_complex() or pixels.dtype == torch.bool:
        raise ValueError("holds no whole numbers: pixels are 0 to 255")
    if pixels.min() < 0 or pixels.max() > 255:
        raise ValueError("holds numbers beyond 0 to 255")
    return pixels.to(torch.uint8)


# ---------------------------------------------------------------- files


def decode_picture(data: bytes) -> Tensor:
    if pillow is None:
        raise ValueError(NO_PILLOW)
    try:
        with pillow.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"has more than {MAX_PIXELS:,} pixels")
            if max(image.size) > MAX_SIDE:
                width, height = find_size(image)
                image.draft(image.mode, (3 * width, 3 * height))
            image.load()
            return to_planes(upright_picture(image))
    except ValueError:
        raise
    except Exception as error:  # damaged files make a decoder raise anything
        raise ValueError(f"is damaged, or none of {', '.join(FORMATS)}") from error


def upright_picture(image: pillow.Image) -> pillow.Image:
    ImageOps.exif_transpose(image, in_place=True)
    return shrink_picture(flatten_picture(image))


def shrink_picture(image: pillow.Image) -> pillow.Image:
    if max(image.size) <= MAX_SIDE:
        return image
    return image.resize(find_size(image), pillow.Resampling.BICUBIC, reducing_gap=3.0)


def find_size(image: pillow.Image) -> tuple[int, int]:
    longer = max(image.size)
    width, height = (max(1, round(side * MAX_SIDE / longer)) for side in image.size)
    return width, height


def flatten_picture(image: pillow.Image) -> pillow.Image:
    """Grey ("L") or colour ("RGB"); what is transparent shows white."""
    if image.mode.startswith("I;16"):  # two bytes a pixel: the higher one is kept
        high = 0 if image.mode == "I;16B" else 1
        return pillow.frombytes("L", image.size, image.tobytes()[high::2])
    if image.mode == "I" and image.format == "PPM":  # four bytes, of which two are used
        return pillow.frombytes("L", image.size, image.tobytes()[1::4])
    if image.mode in ("I", "F"):
        raise ValueError("has pixels of 32 bits: save it with 8 bits for each colour")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        white = pillow.new("RGBA", image.size, "white")
        return pillow.alpha_composite(white, image.convert("RGBA")).convert(mode)
    return image.convert(mode)


def to_planes(image: pillow.Image) -> Tensor:
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)


def to_pillow(pixels: Tensor) -> pillow.Image:
    if pillow is None:
        raise ValueError(f"is longer than {MAX_SIDE} pixels, so it {NO_PILLOW}")
    channels, height, width = pixels.shape
    data = bytes(pixels.permute(1, 2, 0).flatten().tolist())
    return pillow.frombytes("L" if channels == 1 else "RGB", (width, height), data)
