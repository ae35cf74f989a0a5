"""Jobs on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.jobs.tables import Job, JobStatus, Phase, Reason, Requested

# A stored spec is shown as it is, never parsed again: old rows outlive changes of the model.
StoredSpec = Annotated[
    dict[str, Any], WithJsonSchema({"allOf": [{"$ref": "#/components/schemas/JobSpec"}]})
]


class Progress(BaseModel):
    step: int
    total_steps: int | None = Field(description="Null until the data has been counted.")
    epoch: float
    eta_seconds: float | None


class JobSummary(BaseModel):
    """A job as lists show it. Times are null until that moment has come."""

    id: str
    name: str
    status: JobStatus
    reason: Reason | None = Field(description="Why the job failed.")
    requested: Requested | None = Field(description="What the running job has been asked to do.")
    phase: Phase | None = Field(description="What the running job is doing.")
    progress: Progress
    attempt: int = Field(description="How many times a worker has started the job.")
    model: str
    dataset_id: str
    priority: int
    labels: dict[str, str]
    retry_of: str | None
    created_at: datetime
    started_at: datetime | None
    first_step_at: datetime | None
    finished_at: datetime | None


class Origin(BaseModel):
    checkpoint_id: str
    step: int


class JobDetail(JobSummary):
    error: dict[str, Any] | None = Field(
        description="`message`; `hint`: what to change; `traceback`; `log_tail`; `checkpoint`: "
        "`id` and `step` of the last one."
    )
    queue_position: int | None = Field(
        description="1 is next. Null unless queued and free to start."
    )
    waiting_for: str | None = Field(
        description="What has to happen before the job runs, in words. Null once it does."
    )
    failures: int = Field(description="Attempts that failed on their own.")
    losses: int = Field(description="Attempts whose worker was lost.")
    retry_from: Origin | None = Field(description="Where in `retry_of` this job goes on from.")
    spec: StoredSpec = Field(description="The effective spec, with every default filled in.")
    evaluation: dict[str, Any] | None = Field(description="Test metrics, once there are any.")
    links: dict[str, str]


class Retry(BaseModel):
    """How a retry begins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Literal["scratch", "last", "best"] = Field(
        default="scratch",
        alias="from",
        description="scratch: anew. last, best: from that checkpoint of the job, with the full "
        "state of training as it was there.",
    )


class Notice(BaseModel):
    loc: list[str | int]
    message: str


class ValidationOut(BaseModel):
    """What would be trained. Nothing has been queued."""

    spec: StoredSpec
    parameter_count: int = Field(description="At most: categories are counted over all rows.")
    memory_bytes: int = Field(
        description="Estimate for weights, gradients, optimizer state and data."
    )
    rows: dict[str, int] = Field(description="Rows of each part of the data.")
    warnings: list[Notice]


def show_summary(job: Job) -> dict[str, Any]:
    progress = Progress(
        step=job.step,
        total_steps=job.total_steps,
        epoch=job.epoch,
        eta_seconds=job.eta_seconds,
    )
    shown = {name: getattr(job, name, None) for name in JobSummary.model_fields}
    return {**shown, "progress": progress, "model": job.model_type}


def show_detail(job: Job, queue_position: int | None, waiting_for: str | None) -> JobDetail:
    base = f"/v1/jobs/{job.id}"
    parts = ("metrics", "events", "stream", "logs", "evaluation", "explanations", "checkpoints")
    return JobDetail(
        **show_summary(job),
        error=job.error,
        queue_position=queue_position,
        waiting_for=waiting_for,
        failures=job.failures,
        losses=job.losses,
        retry_from=job.retry_from,
        spec=job.spec,
        evaluation=summarize(job.evaluation),
        links={"self": base, **{part: f"{base}/{part}" for part in parts}},
    )


FIGURES = ("task", "checkpoint_step", "monitor", "validation", "test", "baseline", "rows")


def summarize(evaluation: dict[str, Any] | None) -> dict[str, Any] | None:
    """The figures of an evaluation, without its tables."""
    if evaluation is None:
        return None
    folds = evaluation.get("cross_validation")
    over_folds = folds and {name: folds[name] for name in ("mean", "std")}
    return {name: evaluation.get(name) for name in FIGURES} | {"cross_validation": over_folds}
