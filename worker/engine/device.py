"""Where and how precisely a job computes, and that it computes the same every time."""

import os
import random
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.utils import deterministic

from worker.engine.errors import UserError

SHARED_OPERATIONS = 20_000_000  # per step; bench/results/threads.md
BFLOAT16_CAPABILITY = (8, 0)  # Ampere: the first GPUs that are fast at it


def choose_device(asked: str) -> torch.device:
    if asked == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "resources.device is cuda, but this worker has no usable CUDA device.",
            hint='Set resources.device to "auto" or "cpu", or run a worker on a GPU host.',
        )
    if asked == "auto":
        asked = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(asked)


def choose_autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """A context to run the model in; it can be entered again and again."""
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY
    if precision == "bfloat16" or (precision == "auto" and fast):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def choose_threads(model: nn.Module, rows: int, threads: int) -> int:
    """One thread for steps too small to share: on idle cores a second one gains nothing there, and
    on busy ones each step waits for it. Depends on the job alone, so a resumed run does the same.
    """
    parameters = sum(param.numel() for param in model.parameters())
    operations = 6 * parameters * rows  # of a dense model: 2 forward, 4 backward
    return threads if operations >= SHARED_OPERATIONS else 1


def make_deterministic(threads: int) -> None:
    """The same sums in the same order every time. Must come before the first use of CUDA."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a safety net that costs time
    torch.backends.cudnn.benchmark = False


def seed_everything(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)  # also every CUDA device, once one is used
