"""What the server answers. A newer server may add fields."""

from typing import Any, Literal, NotRequired, TypedDict

JobStatus = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")


class Column(TypedDict):
    name: str
    kind: Literal["number", "category", "boolean", "text", "time", "image", "sequence"]
    missing: int
    distinct: int
    image: NotRequired[dict[str, int] | None]  # facts, of one dataset: lists leave them out
    sequence: NotRequired[dict[str, int] | None]


class Dataset(TypedDict):
    id: str
    name: str
    format: str
    sha256: str
    size_bytes: int
    rows: int
    columns: list[Column]
    created_at: str


class Preview(TypedDict):
    columns: list[str]
    rows: list[list[Any]]


class JobError(TypedDict, total=False):
    message: str
    hint: str
    traceback: str
    log_tail: list[str]
    checkpoint: dict[str, Any] | None


class Progress(TypedDict):
    step: int
    total_steps: int | None
    epoch: float
    eta_seconds: float | None


class JobSummary(TypedDict):
    """A job as lists show it."""

    id: str
    name: str
    status: JobStatus
    reason: str | None
    requested: str | None
    phase: str | None
    progress: Progress
    attempt: int
    model: str
    dataset_id: str
    priority: int
    labels: dict[str, str]
    retry_of: str | None
    created_at: str
    started_at: str | None
    first_step_at: str | None
    finished_at: str | None


class Job(JobSummary):
    error: JobError | None
    queue_position: int | None
    failures: int
    losses: int
    retry_from: dict[str, Any] | None
    spec: dict[str, Any]
    evaluation: dict[str, Any] | None


class Event(TypedDict):
    """One entry of a job's feed. `seq` rises by one, without a gap."""

    seq: int
    type: str
    attempt: int | None
    time: str
    data: dict[str, Any]


class Checkpoint(TypedDict):
    id: str
    job_id: str
    step: int
    epoch: float
    best: bool
    pinned: bool
    metrics: dict[str, float]
    created_at: str


class ExplanationFile(TypedDict):
    name: str
    type: str
    media_type: str
    sha256: str
    size_bytes: int


class Series(TypedDict):
    name: str
    points: list[tuple[int, float]]
