"""From the bytes of a picture to grey or colour."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.datasets.pictures import MAX_SIDE, BadPicture, HugePicture, decode
from tests.app.datasets.archives import encode, make_picture


def corner(data: bytes) -> list[int]:
    """The colour of the upper left pixel."""
    return [int(value) for value in decode(data)[:, 0, 0]]


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG"])
def test_the_usual_formats_are_read(format: str) -> None:
    options = {"lossless": True} if format == "WEBP" else {}
    pixels = decode(make_picture((200, 100, 50), (6, 4), format=format, **options))
    assert pixels.shape == (3, 4, 6)
    assert pixels.dtype == np.uint8
    tolerance = 3 if format == "JPEG" else 0
    assert abs(pixels[:, 0, 0].astype(int) - [200, 100, 50]).max() <= tolerance


@pytest.mark.parametrize(
    ("mode", "colour", "stored"),
    [
        ("1", 1, [255]),
        ("L", 77, [77]),
        ("LA", (0, 0), [255]),
        ("LA", (100, 255), [100]),
        ("I;16", 0x1234, [0x12]),
        ("RGBA", (9, 8, 7, 255), [9, 8, 7]),
        ("RGBA", (9, 8, 7, 0), [255, 255, 255]),
        ("P", 0, [0, 0, 0]),
    ],
)
def test_modes_become_grey_or_colour(mode: str, colour: Any, stored: list[int]) -> None:
    assert corner(make_picture(colour, mode=mode)) == stored


def test_what_is_half_transparent_mixes_with_white() -> None:
    (value,) = corner(make_picture((0, 128), mode="LA"))
    assert value == 127


def test_a_grey_picture_with_one_transparent_shade_stays_grey() -> None:
    assert corner(make_picture(5, mode="L", transparency=5)) == [255]


def test_print_colours_become_red_green_and_blue() -> None:
    assert len(corner(make_picture((0, 0, 0, 0), mode="CMYK", format="JPEG"))) == 3


def test_a_pgm_of_sixteen_bits_keeps_the_upper_eight() -> None:
    assert corner(b"P5 1 1 65535\n" + struct.pack(">H", 0xABCD)) == [0xAB]


def test_pixels_of_thirty_two_bits_are_refused() -> None:
    with pytest.raises(BadPicture, match="32 bits"):
        decode(make_picture(0.5, mode="F", format="TIFF"))


def test_the_first_frame_of_an_animation_is_taken() -> None:
    first, second = (Image.new("RGB", (2, 2), colour) for colour in ("red", "blue"))
    assert corner(encode(first, "GIF", save_all=True, append_images=[second])) == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(make_picture(size=(30, 20), format="JPEG", exif=exif))
    assert pixels.shape[1:] == ((30, 20) if orientation > 4 else (20, 30))


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        ((512, 100), (100, 512)),
        ((1024, 300), (150, 512)),
        ((300, 2048), (512, 75)),
        ((5000, 1), (1, 512)),
    ],
)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_large_pictures_are_scaled_down(
    format: str, size: tuple[int, int], stored: tuple[int, int]
) -> None:
    pixels = decode(make_picture((9, 9, 9), size, format=format))
    assert pixels.shape[1:] == stored
    assert max(stored) == MAX_SIDE
    assert abs(pixels.astype(int) - 9).max() <= 2


def test_scaling_down_takes_means() -> None:
    stripes = np.zeros((1024, 1024), np.uint8)
    stripes[:, ::2] = 200
    inner = decode(encode(Image.fromarray(stripes)))[0, 10:-10, 10:-10]
    assert abs(inner.astype(int) - 100).max() < 12


@pytest.mark.parametrize("data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0"])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(BadPicture):
        decode(data)


def test_a_picture_cut_short_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    for format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        data = encode(Image.fromarray(noise), format)
        with pytest.raises(BadPicture):
            decode(data[: len(data) // 2])


def test_a_small_file_of_too_many_pixels_is_not_unfolded() -> None:
    size = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    with pytest.raises(HugePicture):
        decode(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IEND", b""))
    header = io.BytesIO(make_picture(0, (9500, 9500), "1")).getvalue()  # 90 million, in 11 kB
    with pytest.raises(HugePicture):
        decode(header)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
