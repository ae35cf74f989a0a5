"""The training loop. Shapes: B rows of a batch, F inputs, O outputs."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from app import faults
from app.specs import JobSpec
from worker.augment import Mixed, Targets, split_targets
from worker.data.batches import Batches
from worker.data.blocks import BlockBatches
from worker.data.rows import hold_rows
from worker.engine.augmenter import Augmenter
from worker.engine.average import Average
from worker.engine.checkpoint import name_checkpoint
from worker.engine.errors import NonFiniteLoss
from worker.engine.evaluate import Scorer
from worker.engine.reporter import Reporter, Stop
from worker.engine.snapshot import Snapshot
from worker.engine.tracking import Best, EarlyStopping
from worker.engine.trainlog import TAME, TrainLog
from worker.engine.warnings import Warnings
from worker.engine.writer import CheckpointWriter
from worker.losses import Loss
from worker.registry import Schedule

ATTEND_SECONDS = 0.5  # how often training looks up from its steps
MAX_PENDING = 4096  # losses left on the device
Place = tuple[int, int, float]  # step, total steps, epoch


@dataclass
class Trainer:
    spec: JobSpec
    model: nn.Module
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    batches: Batches | BlockBatches
    validation: Scorer | None
    log: TrainLog
    writer: CheckpointWriter
    reporter: Reporter
    warnings: Warnings
    device: torch.device
    autocast: AbstractContextManager[object]
    best: Best
    early_stopping: EarlyStopping
    average: Average | None = None
    augmenter: Augmenter | None = None

    step: int = 0
    saved_step: int | None = 0  # nothing has been learned before the first step
    scores: dict[str, float] = field(default_factory=dict)  # of the latest validation
    found: dict[str, Any] | None = None  # by the learning-rate finder: chosen, points
    best_snapshot: Snapshot | None = None

    def __post_init__(self) -> None:
        self.params = [param for param in self.model.parameters() if param.requires_grad]
        self.weights = [param for param in self.params if param.dim() > 1]
        self.update = find_step(self.optimizer)
        self.steps_per_epoch = self.batches.per_epoch
        self.total_steps = self.spec.training.epochs * self.steps_per_epoch
        self.lr: float | None = None
        self.peak_lr = self.spec.training.optimizer.lr
        self.attend_at = 0.0  # at once after the first step, so that progress shows
        self.started_at = monotonic()
        self.started_step = self.step
        self.save_at = self.started_at + self.spec.checkpoints.every_seconds

    @property
    def finished(self) -> bool:
        return self.step >= self.total_steps or self.early_stopping.exhausted

    @property
    def epoch(self) -> float:
        return self.step / self.steps_per_epoch

    @property
    def folds_follow(self) -> bool:
        return self.spec.evaluation.cross_validation is not None

    @property
    def place(self) -> Place:
        return self.step, self.total_steps, self.epoch

    # ------------------------------------------------------------ the loop

    def train(self) -> Stop | None:
        """Train to the end, or until asked to stop: then the state is saved, to the very step."""
        self.model.train()
        self.started_at = monotonic()
        self.log.resume_clock()
        while not self.finished:
            for inputs, targets in self.batches.epoch(*divmod(self.step, self.steps_per_epoch)):
                if (stop := self.reporter.stop) is not None and self.stop_for(stop):
                    return stop
                self.log.add(self.train_step(inputs, targets))
                self.step += 1
                if self.step % self.steps_per_epoch == 0:
                    self.end_epoch()
                if monotonic() >= self.attend_at or len(self.log.pending) >= MAX_PENDING:
                    self.attend()
        self.log.finish()
        self.report_progress()
        return None

    def stop_for(self, stop: Stop) -> bool:
        """Save first. A pause that cannot save is refused: it would lose what was learned."""
        self.save()
        failures = self.drain()
        if stop is Stop.PAUSE and not self.saved:
            self.reporter.refuse(describe(failures[0]))
            return False
        self.report_progress()
        return True

    def train_step(self, inputs: Tensor, targets: Targets) -> Tensor:
        """One optimizer step. The loss stays on the device: reading it would stall the step."""
        if self.augmenter is not None:
            inputs, targets = self.augmenter.apply(inputs, targets, self.step)
        self.set_lr(self.peak_lr * self.schedule(self.step))
        if self.spec.training.accumulate > 1:
            loss = self.accumulate(inputs, targets)
        else:
            loss = self.measure_loss(inputs, targets)
            if self.spec.training.l1 or self.spec.training.l2:
                loss = loss + self.measure_penalty()
            loss.backward()  # type: ignore[no-untyped-call]
        if self.spec.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.params, self.spec.training.clip_norm, foreach=True)
        self.update()
        for param in self.params:  # what zero_grad() does, at a tenth of its cost
            param.grad = None
        if self.average is not None:
            self.average.update(self.step + 1)
        return loss.detach()

    def measure_loss(self, inputs: Tensor, targets: Targets) -> Tensor:
        with self.autocast:
            outputs = self.model(inputs)  # (B, F) -> (B, O)
        if isinstance(targets, Mixed):
            return targets.measure(self.loss.compute, outputs.float())
        return self.loss.compute(outputs.float(), targets)

    def accumulate(self, inputs: Tensor, targets: Targets) -> Tensor:
        """Gradients of the mean over all rows, in the memory of one batch. (A * B, F)"""
        size, total = self.spec.training.batch_size, torch.zeros((), device=self.device)
        parts = zip(hold_rows(inputs).split(size), split_targets(targets, size), strict=True)
        for rows, wanted in parts:
            loss = self.measure_loss(rows, wanted) * (len(wanted) / len(targets))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        if self.spec.training.l1 or self.spec.training.l2:
            penalty = self.measure_penalty()
            penalty.backward()  # type: ignore[no-untyped-call]
            total += penalty.detach()
        return total

    def averaged(self) -> AbstractContextManager[object]:
        """Within, the model holds the weights that are measured and exported."""
        return self.average.applied() if self.average else nullcontext()

    def use_rate(self, found: dict[str, Any]) -> None:
        """The schedule is a factor on this rate, not on that of the spec."""
        self.found = found
        self.peak_lr = self.log.lr = found["chosen"]

    def set_lr(self, lr: float) -> None:
        if lr != self.lr:
            self.lr = lr
            for group in self.optimizer.param_groups:
                group["lr"] = lr

    def measure_penalty(self) -> Tensor:
        """On weights, not on biases."""
        training = self.spec.training
        penalty = torch.zeros((), device=self.device)
        for weight in self.weights:
            if training.l1:
                penalty = penalty + training.l1 * weight.abs().sum()
            if training.l2:
                penalty = penalty + training.l2 * weight.square().sum()
        return penalty

    def end_epoch(self) -> None:
        """No checkpoint can fall between the last step of an epoch and this."""
        faults.reach("train.step")
        if self.validation is None:
            return
        self.log.pause_clock()
        with self.averaged():
            self.scores = self.validation.score(self.model)
        if not math.isfinite(self.scores["loss"]):
            self.log.read()  # says which step it was, if it was one
            raise NonFiniteLoss(
                f"The validation loss became {self.scores['loss']} at step {self.step}.", hint=TAME
            )
        self.log.add_scores("validation", self.step, self.scores)
        self.early_stopping.observe(self.scores)
        if self.spec.checkpoints.keep_best and self.best.improve(self.scores, self.step):
            self.best_snapshot = self.capture(keep=None)
        self.log.resume_clock()

    def attend(self) -> None:
        """What has to be done now and then, but not at every step."""
        self.log.flush()
        self.report_progress()
        self.collect()
        now = monotonic()
        # The checkpoint of the last step is written once its evaluation is known.
        if now >= self.save_at and self.writer.open_orders == 0 and not self.finished:
            self.save()
            self.save_at = now + self.spec.checkpoints.every_seconds
        self.attend_at = min(now + ATTEND_SECONDS, max(self.save_at, now + ATTEND_SECONDS / 10))

    def report_progress(self) -> None:
        done = self.step - self.started_step
        seconds = monotonic() - self.started_at
        left = (self.total_steps - self.step) * seconds / done if done else None
        self.reporter.progress(*self.place, left)

    # ------------------------------------------------------------ checkpoints

    def capture(self, keep: Snapshot | None) -> Snapshot:
        """The state after this step, in buffers other than those of `keep`. Raises NonFiniteLoss:
        what is saved is sound."""
        self.log.read()
        refuse_broken(self.model, self.step)
        snapshot = self.writer.borrow(keep)
        state = self.state_dict()
        snapshot.capture(self.model, self.optimizer, self.average, self.device, state)
        return snapshot

    def save(self, evaluation: dict[str, Any] | None = None) -> None:
        """Order the best checkpoint, if it is not on disk yet, and the one of this step."""
        self.log.flush()  # a checkpoint is reported after every point up to its step
        if self.best_snapshot is not None and self.best.checkpoint is None:
            if self.best.step == self.step:
                self.best_snapshot.facts["evaluation"] = evaluation
                self.saved_step = self.step
            self.best.checkpoint = name_checkpoint(self.writer.folder / f"s{self.best.step}")
            self.writer.submit(self.best_snapshot, best=True)
        if self.saved_step != self.step:
            self.saved_step = self.step
            snapshot = self.capture(keep=self.best_snapshot)
            snapshot.facts["evaluation"] = evaluation
            self.writer.submit(snapshot, best=False)

    def collect(self) -> list[Exception]:
        """Report what was written; answers what could not be."""
        failures = []
        for written in self.writer.collect():
            if not isinstance(written.result, Exception):
                continue
            failures.append(written.result)
            step = written.snapshot.facts["step"]
            reason = describe(written.result)
            self.warnings.add(f"The checkpoint of step {step} could not be written: {reason}.")
            if self.saved_step == step:
                self.saved_step = None
            if written.best and self.best.step == step:
                self.best.checkpoint = None
        return failures

    def drain(self) -> list[Exception]:
        self.writer.drain()
        return self.collect()

    @property
    def saved(self) -> bool:
        """Whether all of the present state is on disk, the best so far included."""
        best_saved = self.best_snapshot is None or self.best.checkpoint is not None
        return self.saved_step == self.step and best_saved

    def forget_saved(self) -> None:
        """What was resumed from belongs to another job: write it again, into the own folder."""
        self.saved_step = None
        self.best.checkpoint = None

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """What is not a tensor; after `log.read`."""
        return {
            "step": self.step,
            "epoch": self.epoch,
            "scores": self.scores,
            "log": self.log.state_dict(),
            "best": self.best.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "lr_finder": self.found,
            "evaluation": None,
        }

    def resume(self, snapshot: Snapshot, best_snapshot: Snapshot | None) -> None:
        facts = snapshot.facts
        snapshot.restore(self.model, self.optimizer, self.average, self.device)
        self.step = self.saved_step = self.started_step = facts["step"]
        self.scores = facts["scores"]
        self.log.load_state_dict(facts["log"])
        self.early_stopping.load_state_dict(facts["early_stopping"])
        if (found := facts.get("lr_finder")) is not None:
            self.use_rate(found)
        if best_snapshot is not None:
            self.best.load_state_dict(facts["best"])
            self.best_snapshot = best_snapshot


def refuse_broken(model: nn.Module, step: int) -> None:
    """A step may break the weights without any loss having shown it yet."""
    if not torch.stack([param.isfinite().all() for param in model.parameters()]).all():
        raise NonFiniteLoss(f"The weights are not finite after step {step}.", hint=TAME)


def describe(failure: Exception) -> str:
    return str(getattr(failure, "strerror", None) or type(failure).__name__)


def find_step(optimizer: Optimizer) -> Callable[[], object]:
    """The optimizer's step without torch's label for profilers around it.

    Measured: the label costs a fifth of a step of a small model.
    """
    step = type(optimizer).step
    bare = step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[attr-defined]
    return partial(bare, optimizer)
