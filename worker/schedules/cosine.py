import math
from collections.abc import Callable

from app.specs.schedules import CosineSpec
from worker.schedules import count_rising, measure_fall, rise


def build(spec: CosineSpec, steps: int, _steps_per_epoch: int) -> Callable[[int], float]:
    rising = count_rising(spec.warmup, steps)

    def factor(step: int) -> float:
        wave = (1 + math.cos(math.pi * measure_fall(step, rising, steps))) / 2
        return rise(step, rising) * (spec.floor + (1 - spec.floor) * wave)

    return factor
