"""Learning-rate schedules: the factor on `lr` at each step, counted from 0."""


def count_rising(warmup: float, steps: int) -> int:
    """How many steps the rate spends rising; the step after them has the full rate."""
    return min(round(warmup * steps), steps - 1)


def rise(step: int, rising: int) -> float:
    """A straight line from near 0 to 1 over `rising` steps."""
    return min(1.0, (step + 1) / (rising + 1))


def measure_fall(step: int, rising: int, steps: int) -> float:
    """0 at the first step with the full rate, 1 at the last step."""
    return max(0, step - rising) / max(1, steps - 1 - rising)
