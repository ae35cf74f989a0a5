from collections.abc import Callable

from app.specs.schedules import StepSpec
from worker.schedules import count_rising, rise


def build(spec: StepSpec, steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    rising = count_rising(spec.warmup, steps)
    stair = spec.every_epochs * steps_per_epoch
    return lambda step: rise(step, rising) * spec.gamma ** (step // stair)
