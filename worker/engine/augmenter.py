"""Applies a job's augmentations to the training rows of a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from torch import Generator, Tensor

from app.specs.augment import AugmentSpec
from app.specs.training import TrainingSpec
from worker import registry
from worker.augment import Augment, Targets
from worker.data.features import Features
from worker.engine.errors import UserError


@dataclass(frozen=True)
class Augmenter:
    """Without any state: what happens at a step depends on the seed and on that step alone."""

    augments: Sequence[Augment]
    seed: int

    def apply(self, inputs: Tensor, targets: Targets, step: int) -> tuple[Tensor, Targets]:
        changed = inputs, targets
        for number, augment in enumerate(self.augments):
            changed = augment(*changed, make_generator(self.seed, step, number))
        return changed


def make_generator(seed: int, step: int, number: int) -> Generator:
    """Hashed, as seeds that differ little may start alike."""
    digest = sha256(f"{seed} {step} {number}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def build_augmenter(training: TrainingSpec, features: Features) -> Augmenter | None:
    """Raises UserError for an augmentation of rows that this job does not have."""
    if not training.augment:
        return None
    for spec in training.augment:
        if reason := find_misfit(spec, features):
            raise UserError(
                f"training.augment: {spec.type} cannot be used here: {reason}.",
                hint="Change it, or leave it out.",
            )
    return Augmenter([registry.build_augment(spec) for spec in training.augment], training.seed)


def find_misfit(spec: AugmentSpec, features: Features) -> str | None:
    takes = features.whole.takes if features.whole else "table"
    if features.sparse:
        return "text as counts of terms stays sparse"
    if takes not in spec.takes:
        return f"it changes {' and '.join(spec.takes)}, and the input is {takes}"
    return spec.misfit(features.shape) if takes == "image" else None
