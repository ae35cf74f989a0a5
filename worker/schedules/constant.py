from collections.abc import Callable

from app.specs.schedules import ConstantSpec
from worker.schedules import count_rising, rise


def build(spec: ConstantSpec, steps: int, _steps_per_epoch: int) -> Callable[[int], float]:
    rising = count_rising(spec.warmup, steps)
    return lambda step: rise(step, rising)
