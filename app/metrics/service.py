"""Reading metric series across attempts, each point once, thinned without losing extremes."""

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import ARRAY, BigInteger, String, bindparam, text
from sqlalchemy.orm import Session

from app.metrics.schemas import Series

# visible: points of an attempt count up to the step that a later attempt went on from; where two
# attempts measured the same step, the later one counts. Series that are too long keep their first
# and last point and the lowest and highest of each bucket of neighbours.
POINTS = text("""
WITH bounds AS (
    SELECT id, number, min(resume_step) OVER (
        ORDER BY number ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
    ) AS last_step
    FROM attempts WHERE job_id = :job_id
), visible AS (
    SELECT DISTINCT ON (m.name, m.step) m.name, m.step, m.value
    FROM metrics m JOIN bounds b ON b.id = m.attempt_id
    WHERE (b.last_step IS NULL OR m.step <= b.last_step)
      AND (:names IS NULL OR m.name = ANY(:names))
      AND (:from_step IS NULL OR m.step >= :from_step)
      AND (:to_step IS NULL OR m.step <= :to_step)
    ORDER BY m.name, m.step, b.number DESC
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY name ORDER BY step) - 1 AS i,
           count(*) OVER (PARTITION BY name) AS n
    FROM visible
), ranked AS (
    SELECT *,
           row_number() OVER (PARTITION BY name, i * :buckets / n ORDER BY value, step) AS lowest,
           row_number() OVER (PARTITION BY name, i * :buckets / n ORDER BY value DESC, step) AS top
    FROM numbered
)
SELECT name, step, value FROM ranked
WHERE n <= :points OR lowest = 1 OR top = 1 OR i = 0 OR i = n - 1
ORDER BY name, step
""").bindparams(
    bindparam("names", type_=ARRAY(String)),
    bindparam("from_step", type_=BigInteger),
    bindparam("to_step", type_=BigInteger),
    bindparam("buckets", type_=BigInteger),
    bindparam("points", type_=BigInteger),
)


def read_series(
    session: Session,
    job_id: str,
    names: Sequence[str] | None,
    from_step: int | None,
    to_step: int | None,
    points: int,
) -> list[Series]:
    """At most `points` points of each series."""
    values = {
        "job_id": job_id,
        "names": list(names) if names else None,
        "from_step": from_step,
        "to_step": to_step,
        "points": points,
        "buckets": (points - 2) // 2,
    }
    rows = session.execute(POINTS, values).all()
    return [
        Series(name=name, points=[(step, value) for _, step, value in group])
        for name, group in groupby(rows, key=lambda row: row[0])
    ]
