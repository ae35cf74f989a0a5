"""Metric points into Postgres, by binary COPY."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

COPY = "COPY metrics (attempt_id, name, step, value) FROM STDIN (FORMAT BINARY)"


def add_points(session: Session, attempt_id: int, points: Sequence[tuple[str, int, float]]) -> None:
    """Add (name, step, value) points. The caller holds the job's fence in this transaction."""
    if not points:
        return
    connection = session.connection().connection.driver_connection
    assert connection is not None
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        copy.set_types(["int8", "varchar", "int8", "float8"])
        for name, step, value in points:
            copy.write_row((attempt_id, name, step, value))
