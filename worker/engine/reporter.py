"""How the engine talks to the outside. The engine knows no database, queue or HTTP."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Point = tuple[str, int, float]  # series name, step, finite value


class Stop(StrEnum):
    """Why training has to stop. Each one saves a checkpoint first; without one, nothing pauses."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RELEASE = "release"
    TIMEOUT = "timeout"


class Stopped(Exception):
    """A stop was asked for where no training loop looks for it."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop)
        self.stop = stop


@dataclass(frozen=True)
class SavedCheckpoint:
    """A committed checkpoint: `name` is its folder, relative to the folder of the job."""

    name: str
    step: int
    epoch: float
    files: dict[str, dict[str, Any]]  # file name -> {"sha256", "size_bytes"}
    metrics: dict[str, float]  # the latest validation metrics at that step
    best: bool


class Reporter(Protocol):
    """Calls arrive outside in the order they are made."""

    @property
    def stop(self) -> Stop | None:
        """Read at every step: a plain attribute, not a call over a wire."""

    def refuse(self, reason: str) -> None:
        """Training goes on: `stop` is None again."""

    def phase(self, name: str) -> None: ...
    def progress(
        self, step: int, total_steps: int, epoch: float, eta_seconds: float | None
    ) -> None: ...
    def metrics(self, points: list[Point]) -> None: ...
    def checkpoint(self, saved: SavedCheckpoint) -> None: ...
    def event(self, kind: str, data: dict[str, Any]) -> None: ...


def heed_stop(reporter: Reporter) -> None:
    """Raises Stopped. For long work that can be done again from its beginning."""
    if (stop := reporter.stop) is not None:
        raise Stopped(stop)
