"""What is known of a column of a dataset: measured once, at upload."""

from app.specs.base import ColumnName, Spec
from app.specs.data import ColumnKind


class ImageFacts(Spec):
    """The largest and smallest picture of a column, in pixels."""

    channels: int  # 3 where any picture of the column has colour, else 1
    height_min: int
    height_max: int
    width_min: int
    width_max: int


class SequenceFacts(Spec):
    """Every step of a column holds `width` numbers."""

    width: int
    steps_min: int
    steps_max: int


class Column(Spec):
    """One column, and its form in the dataset's table.

    `number` columns hold float64. `sequence` columns hold `DOUBLE[][]`: steps of numbers. `image`
    columns hold a struct (name, start, channels, height, width) that points into `pixels.bin`
    beside the table: uint8, C x H x W. The others hold text.

    Rows are counted from 1, without a header. `values` are the most common ones (at most 100) with
    their counts, for every kind but `time`, `image`, `sequence` and continuous numbers. Pictures
    and sequences are not compared: `distinct` counts those that are there.
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
    image: ImageFacts | None = None
    sequence: SequenceFacts | None = None
