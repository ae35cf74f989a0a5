"""Attributions of pixels, as a picture beside the image. C channels, H by W pixels."""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from worker.explain.view import Question, Shown

SMALLEST = 224  # pixels of the longer side; smaller images are enlarged by a whole number
GAP = 8
BRIGHTEST = 0.99  # this share of the pixels is below full colour: a few outliers hide nothing


class ImageView:
    empty = "a black image"

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def ask(self, row: Tensor) -> Question:
        pixels = row.float()  # (1, C, H, W), 0 to 255
        return Question(self.model, pixels, torch.zeros_like(pixels))

    def show(self, row: Tensor, attributions: Tensor) -> Shown:
        heat = attributions[0].double().sum(0).cpu().numpy()  # (H, W)
        pixels = row[0].cpu().clamp(0, 255).to(torch.uint8).numpy()  # (C, H, W)
        return Shown({}, draw(pixels, heat))

    def summarise(self) -> dict[str, list[dict[str, Any]]]:
        return {}


def draw(pixels: "np.ndarray[Any, Any]", heat: "np.ndarray[Any, Any]") -> bytes:
    """PNG: the image, and its heat map. Red speaks for the prediction, blue against it."""
    image = np.broadcast_to(pixels, (3, *heat.shape)).transpose(1, 2, 0)  # (H, W, 3)
    times = max(1, SMALLEST // max(heat.shape))
    gap = np.full((times * len(heat), GAP, 3), 128, np.uint8)
    parts = [enlarge(image, times), gap, enlarge(colour(heat), times)]
    file = io.BytesIO()
    Image.fromarray(np.concatenate(parts, 1)).save(file, "PNG")
    return file.getvalue()


def enlarge(image: "np.ndarray[Any, Any]", times: int) -> "np.ndarray[Any, Any]":
    return image.repeat(times, 0).repeat(times, 1)


def colour(heat: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    """(H, W) -> (H, W, 3): white where 0, to full red above and full blue below."""
    full = max(float(np.quantile(np.abs(heat), BRIGHTEST)), 1e-30)
    fade = np.rint(255 * (1 - np.minimum(np.abs(heat) / full, 1))).astype(np.uint8)
    bright = np.full_like(fade, 255)
    above, below = np.stack([bright, fade, fade], 2), np.stack([fade, fade, bright], 2)
    return np.where(heat[:, :, None] > 0, above, below)
