"""Where the encoded rows of a job lie while it trains: in memory or on disk."""

from app.config import get_settings
from app.jobs.findings import Findings, Loc
from app.jobs.inputs import Inputs
from app.jobs.sizes import Rows
from app.specs import JobSpec
from app.specs.text import TokensSpec

LOC: Loc = ["dataset", "hold"]


def choose_hold(found: Findings, spec: JobSpec, rows: Rows, inputs: Inputs) -> JobSpec:
    """The spec with `dataset.hold` filled in."""
    hold, reason = spec.dataset.hold, find_reason(spec, inputs)
    needed = rows.total * inputs.row_bytes
    if hold == "disk" and reason:
        found.refuse(LOC, f"{reason}; set it to memory")
    if hold == "auto":
        large = needed > get_settings().max_held_bytes
        hold = "disk" if large and not reason else "memory"
        if large and reason:
            found.warn(LOC, f"the rows take about {needed:,} bytes of memory, as {reason}")
    dataset = spec.dataset.model_copy(update={"hold": hold})
    return spec.model_copy(update={"dataset": dataset})


def find_reason(spec: JobSpec, inputs: Inputs) -> str | None:
    """Why the rows must be in memory, if they must."""
    if inputs.text is not None and not isinstance(inputs.text, TokensSpec):
        return "text as counts of terms cannot be held on disk"
    if inputs.takes not in ("table", "tokens"):
        return f"inputs of kind {inputs.takes} cannot be held on disk"
    if len(spec.dataset.targets) > 1:
        return "several targets cannot be held on disk"
    for field in ("importance", "cross_validation"):
        if getattr(spec.evaluation, field) is not None:
            return f"evaluation.{field} needs the rows in memory"
    return None
