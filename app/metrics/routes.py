from typing import Annotated, Any

from fastapi import Query

from app.deps import SessionDep
from app.jobs.deps import JobDep
from app.metrics import service
from app.metrics.schemas import MetricsOut
from app.routing import make_router

SeriesName = Annotated[str, Query(pattern=r"^[A-Za-z0-9_./@-]{1,64}$")]
NamesQuery = Annotated[
    list[SeriesName] | None,
    Query(max_length=100, description="Repeat it for several series. Unset: all."),
]
StepQuery = Annotated[int | None, Query(ge=0, le=2**63 - 1)]
PointsQuery = Annotated[
    int,
    Query(ge=10, le=10_000, description="Points per series; minima and maxima survive thinning."),
]

router = make_router(tags=["metrics"])


@router.get("/jobs/{job_id}/metrics", response_model=MetricsOut)
def read_metrics(
    job: JobDep,
    session: SessionDep,
    names: NamesQuery = None,
    from_step: StepQuery = None,
    to_step: StepQuery = None,
    points: PointsQuery = 1000,
) -> Any:
    """Metric series by step, each point once, however many attempts the job took."""
    series = service.read_series(session, job.id, names, from_step, to_step, points)
    return {"series": series}
