from collections.abc import Callable

from app.specs.schedules import LinearDecaySpec
from worker.schedules import count_rising, measure_fall, rise


def build(spec: LinearDecaySpec, steps: int, _steps_per_epoch: int) -> Callable[[int], float]:
    rising = count_rising(spec.warmup, steps)

    def factor(step: int) -> float:
        return rise(step, rising) * (1 - (1 - spec.floor) * measure_fall(step, rising, steps))

    return factor
