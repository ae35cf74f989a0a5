"""Learning-rate schedules. `worker/schedules/<type>.py` gives the factor on `lr` at each step.

Every schedule rises linearly from near 0 to the full rate over the first `warmup` of all steps.
"""

from typing import Annotated, Literal

from pydantic import Field

from app.specs.base import Spec

Warmup = Annotated[
    float, Field(ge=0, le=0.9, description="Share of all steps spent rising to the full rate.")
]
Floor = Annotated[float, Field(ge=0, le=1, description="Factor on lr at the last step.")]


class ConstantSpec(Spec):
    """The full rate throughout."""

    type: Literal["constant"] = "constant"
    warmup: Warmup = 0.0


class StepSpec(Spec):
    """Multiplies the rate by `gamma` every `every_epochs` epochs."""

    type: Literal["step"] = "step"
    every_epochs: int = Field(default=10, ge=1, le=1_000_000)
    gamma: float = Field(default=0.1, gt=0, le=1)
    warmup: Warmup = 0.0


class CosineSpec(Spec):
    """Half a cosine from the full rate to `floor` (Loshchilov and Hutter, 2017, no restarts)."""

    type: Literal["cosine"] = "cosine"
    floor: Floor = 0.0
    warmup: Warmup = 0.0


class LinearDecaySpec(Spec):
    """A straight line from the full rate to `floor`."""

    type: Literal["linear"] = "linear"
    floor: Floor = 0.0
    warmup: Warmup = 0.0


class OneCycleSpec(Spec):
    """One rise from `lr / start_divisor` to `lr` and one cosine fall to `lr / final_divisor`.

    Smith and Topin, 2018; momentum is left alone.
    """

    type: Literal["one_cycle"] = "one_cycle"
    warmup: Warmup = 0.3
    start_divisor: float = Field(default=25.0, ge=1, le=1e6)
    final_divisor: float = Field(default=1e4, ge=1, le=1e9)


ScheduleSpec = Annotated[
    ConstantSpec | StepSpec | CosineSpec | LinearDecaySpec | OneCycleSpec,
    Field(discriminator="type"),
]
