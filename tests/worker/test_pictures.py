"""A bundle sees in a picture file what the service saw at upload."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image

from app.datasets import pictures as uploads
from worker.data.pictures import FORMATS, MAX_PIXELS, MAX_SIDE, decode_picture, read_picture


def draw(mode: str, width: int = 23, height: int = 17) -> Image.Image:
    """A picture without any symmetry."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (height, width, 4), generator=generator, dtype=torch.uint8)
    image = Image.frombytes("RGBA", (width, height), bytes(pixels.flatten().tolist()))
    if mode == "I;16":
        data = bytes(pixels[:, :, :2].flatten().tolist())
        return Image.frombytes("I;16", (width, height), data)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def save(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(draw("RGB"), "JPEG", exif=exif)


FILES: dict[str, Callable[[], bytes]] = {
    "grey": lambda: save(draw("L"), "PNG"),
    "colour": lambda: save(draw("RGB"), "PNG"),
    "transparent": lambda: save(draw("RGBA"), "PNG"),
    "grey and transparent": lambda: save(draw("RGBA").convert("LA"), "PNG"),
    "palette": lambda: save(draw("P"), "PNG"),
    "palette with a hole": lambda: save(draw("P"), "PNG", transparency=3),
    "two levels": lambda: save(draw("1"), "PNG"),
    "16 bits": lambda: save(draw("I;16"), "PNG"),
    "16 bits, TIFF": lambda: save(draw("I;16"), "TIFF"),
    "16 bits, PGM": lambda: b"P5 3 2 65535\n" + bytes(range(100, 112)),
    "print colours": lambda: save(draw("CMYK"), "TIFF"),
    "GIF": lambda: save(draw("P"), "GIF"),
    "BMP": lambda: save(draw("RGB"), "BMP"),
    "large": lambda: save(draw("RGB", 700, 90), "PNG"),
    "large JPEG": lambda: save(draw("RGB", 1200, 2100), "JPEG"),
    "large and turned": lambda: turned(6),
    **{f"turned {number}": lambda number=number: turned(number) for number in range(1, 9)},
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_as_at_upload(name: str) -> None:
    data = FILES[name]()
    assert torch.equal(decode_picture(data), torch.from_numpy(uploads.decode(data).copy()))


def test_pixels_of_a_large_picture_shrink_as_at_upload() -> None:
    pixels = torch.randint(0, 256, (3, 40, 700), dtype=torch.uint8)
    image = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    expected = torch.from_numpy(uploads.to_planes(uploads.shrink(image)))
    assert torch.equal(read_picture(pixels), expected)
    assert torch.equal(read_picture(image), expected)


@pytest.mark.parametrize("data", [b"", b"no picture", save(draw("RGB"), "PNG")[:200]])
def test_what_upload_refuses_is_refused(data: bytes) -> None:
    with pytest.raises(uploads.BadPicture):
        uploads.decode(data)
    with pytest.raises(ValueError, match="damaged"):
        decode_picture(data)


def test_both_have_the_same_limits() -> None:
    assert (FORMATS, MAX_PIXELS, MAX_SIDE) == (
        uploads.FORMATS,
        uploads.MAX_PIXELS,
        uploads.MAX_SIDE,
    )
