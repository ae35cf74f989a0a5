"""What is known of columns whose cells are pictures or sequences.

They are not compared with each other: `distinct` counts those that are there.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from duckdb import DuckDBPyConnection

from app.datasets.staging import quote_name, quote_text
from app.specs.columns import Column, ImageFacts, SequenceFacts
from app.specs.data import ColumnKind


def measure_images(connection: DuckDBPyConnection, table: Path, name: str) -> Column:
    cell = quote_name(name)
    sides = [
        f"max({cell}.channels)",
        *(f"{bound}({cell}.{side})" for side in ("height", "width") for bound in ("min", "max")),
    ]
    facts, (channels, *bounds) = _measure(connection, table, cell, sides)
    image = None
    if channels is not None:
        lowest, highest, narrowest, widest = bounds
        image = ImageFacts(
            channels=channels,
            height_min=lowest,
            height_max=highest,
            width_min=narrowest,
            width_max=widest,
        )
    return Column(name=name, kind="image", image=image, **facts)


def measure_sequences(connection: DuckDBPyConnection, table: Path, name: str) -> Column:
    cell = quote_name(name)
    counts = [f"max(len({cell}[1]))", f"min(len({cell}))", f"max(len({cell}))"]
    facts, (width, fewest, most) = _measure(connection, table, cell, counts)
    sequence = None
    if width is not None:
        sequence = SequenceFacts(width=width, steps_min=fewest, steps_max=most)
    return Column(name=name, kind="sequence", sequence=sequence, **facts)


def _measure(
    connection: DuckDBPyConnection, table: Path, cell: str, aggregates: Sequence[str]
) -> tuple[dict[str, Any], Sequence[Any]]:
    missing = f"min(CASE WHEN {cell} IS NULL THEN file_row_number END) + 1"
    parts = ["count(*)", f"count({cell})", missing, *aggregates]
    source = f"read_parquet({quote_text(table)}, file_row_number=true)"
    ((rows, present, first, *found),) = connection.execute(
        f"SELECT {', '.join(parts)} FROM {source}"
    ).fetchall()
    facts = {"missing": rows - present, "first_missing_row": first, "distinct": present}
    return facts, found


NESTED: dict[ColumnKind, Callable[[DuckDBPyConnection, Path, str], Column]] = {
    "image": measure_images,
    "sequence": measure_sequences,
}
