"""Methods that say what single predictions rest on. `worker/attributions/<type>.py` builds each."""

from typing import Literal

from pydantic import Field

from app.specs.base import Spec


class IntegratedGradientsSpec(Spec):
    """How much each number of a row moves the output away from that of a row that says nothing."""

    type: Literal["integrated_gradients"] = "integrated_gradients"
    rows: int = Field(
        default=16,
        ge=1,
        le=100,
        description="How many rows are explained: test rows, or validation rows where there are "
        "none, drawn by `training.seed`.",
    )
    steps: int = Field(
        default=50,
        ge=1,
        le=500,
        description="Points between the empty row and the row where gradients are taken.",
    )


ExplanationSpec = IntegratedGradientsSpec
EXPLANATIONS: tuple[type[ExplanationSpec], ...] = (IntegratedGradientsSpec,)
