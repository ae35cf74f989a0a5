import re
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request, Response
from pydantic import AwareDatetime

from app.auth import PrincipalDep, require
from app.deps import SessionDep
from app.errors import IdempotencyKeyInvalid, NotFound, ValidationError, field_error
from app.jobs import retries, service
from app.jobs.deps import JobDep
from app.jobs.schemas import (
    JobDetail,
    JobSummary,
    Retry,
    ValidationOut,
    show_detail,
    show_summary,
)
from app.jobs.tables import Job, JobStatus
from app.pagination import CursorQuery, LimitQuery, Page
from app.routing import make_router
from app.specs import JobSpec
from app.specs.base import SafeText

router = make_router(tags=["jobs"])
writes = require("write")

LABEL_PARAMETER = {
    "x-query-prefixes": ["label."],
    "parameters": [
        {
            "name": "label.{key}",
            "in": "query",
            "description": "`label.team=search`: only jobs with that label. Repeat for several.",
            "schema": {"type": "string"},
        }
    ],
}
IDEMPOTENCY_KEY = Header(
    alias="Idempotency-Key",
    description="1 to 255 printable ASCII characters. A request that is sent again with the same "
    "key answers the job it made the first time, for as long as that job exists.",
)


def read_idempotency_key(
    request: Request, _: Annotated[str | None, IDEMPOTENCY_KEY] = None
) -> str | None:
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not re.fullmatch(r"[\x20-\x7e]{1,255}", given[0]) or not given[0].strip():
        raise IdempotencyKeyInvalid
    return given[0]


def read_labels(request: Request) -> dict[str, str]:
    pairs = [(k, v) for k, v in request.query_params.multi_items() if k.startswith("label.")]
    for name, value in pairs:
        if not (name + value).isprintable():
            raise ValidationError(errors=[field_error(["query", name], "must be printable")])
    return {name.removeprefix("label."): value for name, value in pairs}


KeyDep = Annotated[str | None, Depends(read_idempotency_key)]
LabelsDep = Annotated[dict[str, str], Depends(read_labels)]


def show(session: SessionDep, job: Job) -> JobDetail:
    position = service.find_queue_position(session, job)
    return show_detail(job, position, service.describe_wait(session, job, position))


def answer_submitted(
    session: SessionDep, response: Response, submitted: service.Submitted
) -> JobDetail:
    response.headers["Location"] = f"/v1/jobs/{submitted.job.id}"
    if submitted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return show(session, submitted.job)


@router.post("/jobs", status_code=201, dependencies=[writes], response_model=JobDetail)
def create_job(
    spec: JobSpec, principal: PrincipalDep, session: SessionDep, key: KeyDep, response: Response
) -> Any:
    """Queue a training job. Whatever would fail later for its spec or data is refused now."""
    submitted = service.submit(session, principal.project_id, spec, key)
    return answer_submitted(session, response, submitted)


@router.post("/jobs/validate", response_model=ValidationOut)
def validate_job(spec: JobSpec, principal: PrincipalDep, session: SessionDep) -> Any:
    """The effective spec, its size and its warnings. Queues nothing."""
    plan = service.plan_job(session, principal.project_id, spec)
    return {
        "spec": plan.spec.model_dump(mode="json"),
        "parameter_count": plan.parameter_count,
        "memory_bytes": plan.memory_bytes,
        "rows": asdict(plan.rows),
        "warnings": plan.warnings,
    }


@router.get("/jobs", response_model=Page[JobSummary], openapi_extra=LABEL_PARAMETER)
def list_jobs(
    principal: PrincipalDep,
    session: SessionDep,
    labels: LabelsDep,
    status: Annotated[list[JobStatus] | None, Query(description="Repeat it for several.")] = None,
    model: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{1,64}$")] = None,
    name: Annotated[
        SafeText | None,
        Query(max_length=200, description="Jobs whose name contains this text, taken literally."),
    ] = None,
    created_after: AwareDatetime | None = None,
    sort: Literal["-created_at", "created_at"] = "-created_at",
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Any:
    """The jobs of this project, newest first. Unknown query parameters are refused."""
    jobs, next_cursor = service.list_jobs(
        session,
        principal.project_id,
        statuses=status or [],
        model=model,
        name=name,
        labels=labels,
        created_after=created_after,
        newest_first=sort.startswith("-"),
        limit=limit,
        cursor=cursor,
    )
    return {"data": [show_summary(job) for job in jobs], "next_cursor": next_cursor}


@router.get("/jobs/{job_id}", response_model=JobDetail)
def get_job(job: JobDep, session: SessionDep) -> Any:
    """State, progress and the effective spec of a job."""
    return show(session, job)


@router.post(
    "/jobs/{job_id}/cancel", status_code=202, dependencies=[writes], response_model=JobDetail
)
def cancel_job(job: JobDep, session: SessionDep) -> Any:
    """Stop for good. A running job saves a checkpoint first. Cancelling twice is fine."""
    return show(session, service.cancel(session, job))


@router.post(
    "/jobs/{job_id}/pause", status_code=202, dependencies=[writes], response_model=JobDetail
)
def pause_job(job: JobDep, session: SessionDep) -> Any:
    """Save a checkpoint and stop until resumed. Pausing twice is fine."""
    return show(session, service.pause(session, job))


@router.post(
    "/jobs/{job_id}/resume", status_code=202, dependencies=[writes], response_model=JobDetail
)
def resume_job(job: JobDep, session: SessionDep) -> Any:
    """Queue a paused job again. It goes on from its last checkpoint."""
    return show(session, service.resume(session, job))


@router.post(
    "/jobs/{job_id}/retry", status_code=202, dependencies=[writes], response_model=JobDetail
)
def retry_job(
    job: JobDep, session: SessionDep, key: KeyDep, response: Response, retry: Retry | None = None
) -> Any:
    """Make a new job from the spec of one that has ended. `retry_of` names the old one."""
    submitted = retries.retry(session, job, (retry or Retry()).start, key)
    return answer_submitted(session, response, submitted)


@router.delete("/jobs/{job_id}", status_code=204, dependencies=[writes])
def delete_job(job: JobDep, session: SessionDep) -> Response:
    """Delete a job that has ended or is paused, with its metrics, events and checkpoints."""
    service.remove(session, job)
    return Response(status_code=204)


@router.get("/jobs/{job_id}/evaluation", response_model=dict[str, Any])
def get_evaluation(job: JobDep) -> Any:
    """What the trained model does on the test rows."""
    if job.evaluation is None:
        raise NotFound(f"This job has no evaluation: it is {job.status}.")
    return job.evaluation
