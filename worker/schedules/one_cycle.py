import math
from collections.abc import Callable

from app.specs.schedules import OneCycleSpec
from worker.schedules import count_rising, measure_fall


def build(spec: OneCycleSpec, steps: int, _steps_per_epoch: int) -> Callable[[int], float]:
    rising = count_rising(spec.warmup, steps)
    start, end = 1 / spec.start_divisor, 1 / spec.final_divisor

    def factor(step: int) -> float:
        if step < rising:
            return start + (1 - start) * step / rising
        wave = (1 + math.cos(math.pi * measure_fall(step, rising, steps))) / 2
        return end + (1 - end) * wave

    return factor
