import torch
from torch import Generator, Tensor

from app.specs.augment import CropSpec
from worker.augment import Augment, cut_windows, keep_targets


def build(spec: CropSpec) -> Augment:
    def crop(images: Tensor, generator: Generator) -> Tensor:
        height, width = images.shape[2:]
        larger = images
        for side, length in ((2, height), (3, width)):
            places = place_around(length, spec.pixels, spec.fill).to(images.device)
            larger = larger.index_select(side, places)
        return cut_windows(larger, height, width, generator)

    return keep_targets(crop)


def place_around(length: int, pixels: int, fill: str) -> Tensor:
    """(length + 2 * pixels,): which pixel of a line stands where. Mirrored: 2 1 | 0 1 2 | 1 0.

    By index, as torch pads only floats so.
    """
    places = torch.arange(-pixels, length + pixels)
    if fill == "edge":
        return places.clamp(0, length - 1)
    return length - 1 - (length - 1 - places.abs()).abs()
