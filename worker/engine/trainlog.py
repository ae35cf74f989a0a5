"""Carries training losses from the device to the reporter without holding up training.

Each step leaves its loss on the device; a flush reads them all at once and closes windows of
`every` steps, of which each becomes one point: the mean.
"""

import math
from time import monotonic
from typing import Any

import torch
from torch import Tensor

from worker.engine.errors import NonFiniteLoss
from worker.engine.reporter import Point, Reporter
from worker.registry import Schedule

RATE_SECONDS = 0.5  # at least this long for one point of train/samples_per_second
TAME = "Lower training.optimizer.lr, or set training.clip_norm."


class TrainLog:
    def __init__(
        self, reporter: Reporter, every: int, lr: float, schedule: Schedule, rows_per_step: float
    ) -> None:
        self.reporter, self.every = reporter, every
        self.lr, self.schedule, self.rows_per_step = lr, schedule, rows_per_step
        self.step = 0  # the last one that was read
        self.window: list[float] = []  # losses read since the last point
        self.pending: list[Tensor] = []
        self.points: list[Point] = []
        self.seconds = 0.0  # spent in training, by all attempts
        self.rate_step, self.rate_seconds = 0, 0.0
        self.resumed_at = monotonic()

    def add(self, loss: Tensor) -> None:
        self.pending.append(loss)

    def add_scores(self, part: str, step: int, scores: dict[str, float]) -> None:
        self.points += [(f"{part}/{name}", step, value) for name, value in scores.items()]

    def flush(self) -> None:
        """Report everything known."""
        self.read()
        self.measure_rate()
        self.report()

    def report(self) -> None:
        if self.points:
            points, self.points = self.points, []
            self.reporter.metrics(points)

    def read(self) -> None:
        """Take the losses off the device. Raises NonFiniteLoss, having reported what preceded."""
        if not self.pending:
            return
        losses, self.pending = torch.stack(self.pending).tolist(), []
        for loss in losses:
            self.step += 1
            if not math.isfinite(loss):
                self.report()
                raise NonFiniteLoss(
                    f"The training loss became {loss} at step {self.step}.", hint=TAME
                )
            self.window.append(loss)
            if self.step % self.every == 0:
                self.close_window()

    def close_window(self) -> None:
        """One point for the steps since the last one; fsum, so that no cut changes the mean."""
        if self.window:
            mean = math.fsum(self.window) / len(self.window)
            rate = self.lr * self.schedule(self.step - 1)
            self.points += [("train/loss", self.step, mean), ("train/lr", self.step, rate)]
            self.window = []

    # ------------------------------------------------------------ the clock

    def pause_clock(self) -> None:
        now = monotonic()
        self.seconds += now - self.resumed_at
        self.resumed_at = now

    def resume_clock(self) -> None:
        self.resumed_at = monotonic()

    def measure_rate(self) -> None:
        self.pause_clock()
        steps, seconds = self.step - self.rate_step, self.seconds - self.rate_seconds
        if steps > 0 and seconds >= RATE_SECONDS:
            self.close_rate()

    def close_rate(self) -> None:
        steps, seconds = self.step - self.rate_step, self.seconds - self.rate_seconds
        if steps > 0 and seconds > 0:
            rate = steps * self.rows_per_step / seconds
            self.points.append(("train/samples_per_second", self.step, rate))
            self.rate_step, self.rate_seconds = self.step, self.seconds

    def finish(self) -> None:
        """The last step closes what is open."""
        self.flush()
        self.close_window()
        self.pause_clock()
        self.close_rate()
        self.flush()

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """After a flush."""
        return {"step": self.step, "window": self.window.copy(), "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.window = state["step"], list(state["window"])
        self.seconds = self.rate_seconds = state["seconds"]
        self.rate_step = self.step
