"""Watches validation scores: which is the best so far, and whether it still gets better."""

from dataclasses import dataclass
from typing import Any

from app.specs.training import LOWER_IS_BETTER, EarlyStoppingSpec


def is_better(monitor: str, value: float, than: float | None, margin: float = 0.0) -> bool:
    """`monitor` is a series, such as validation/loss."""
    if than is None:
        return True
    lower = monitor.removeprefix("validation/") in LOWER_IS_BETTER
    return value < than - margin if lower else value > than + margin


@dataclass
class Best:
    """The best step so far by `monitor`."""

    monitor: str
    step: int | None = None
    value: float | None = None
    checkpoint: str | None = None  # its folder, once it is committed

    def improve(self, scores: dict[str, float], step: int) -> bool:
        value = scores.get(self.monitor.removeprefix("validation/"))
        if value is None or not is_better(self.monitor, value, self.value):
            return False
        self.step, self.value, self.checkpoint = step, value, None
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "value": self.value, "checkpoint": self.checkpoint}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.value = state["step"], state["value"]
        self.checkpoint = state["checkpoint"]


class EarlyStopping:
    """Counts epochs without improvement. Without a spec it never stops."""

    def __init__(self, spec: EarlyStoppingSpec | None) -> None:
        self.spec = spec
        self.best: float | None = None
        self.epochs_without = 0

    @property
    def exhausted(self) -> bool:
        return self.spec is not None and self.epochs_without >= self.spec.patience

    def observe(self, scores: dict[str, float]) -> None:
        if self.spec is None:
            return
        value = scores.get(self.spec.metric.removeprefix("validation/"))
        if value is not None and is_better(self.spec.metric, value, self.best, self.spec.min_delta):
            self.best, self.epochs_without = value, 0
        else:
            self.epochs_without += 1

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "epochs_without": self.epochs_without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.epochs_without = state["best"], state["epochs_without"]
