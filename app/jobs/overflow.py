"""Numbers that a model cannot hold."""

from collections.abc import Sequence

from app.jobs.findings import Findings
from app.specs import JobSpec
from app.specs.columns import Column

FLOAT_MAX = 3.4028234663852886e38  # the largest number of 32 bits


def refuse_overflow(found: Findings, spec: JobSpec, columns: Sequence[Column]) -> None:
    """Scaled numbers are small, however large they were."""
    if spec.dataset.scale != "none":
        return
    for column in columns:
        largest = max(abs(column.min or 0), abs(column.max or 0))
        if column.kind == "number" and largest > FLOAT_MAX:
            found.refuse(
                ["dataset", "scale"],
                f"column {column.name!r} goes up to {largest:g} in size, too large for 32 bits; "
                "set it to standard, or leave the column out",
            )
