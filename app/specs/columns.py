"""What is known of a column of a dataset: measured once, at upload."""

from app.specs.base import ColumnName, Spec
from app.specs.data import ColumnKind


class Column(Spec):
    """`number` columns hold float64, the others text, in the dataset's table form.

    Rows are counted from 1, without a header. `values` are the most common ones (at most 100) with
    their counts, for every kind but `time` and continuous numbers.
    """

    name: ColumnName
    kind: ColumnKind
    integer: bool = False
    missing: int = 0
    first_missing_row: int | None = None
    distinct: int = 0
    rarest: int = 0  # rows of the least common value
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    values: list[tuple[str, int]] = []
