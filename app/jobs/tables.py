from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.ids import new_id


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


class AttemptStatus(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RELEASED = "released"


class Phase(StrEnum):
    PREPARING = "preparing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"


class Requested(StrEnum):
    PAUSE = "pause"
    CANCEL = "cancel"


class Reason(StrEnum):
    USER_ERROR = "user_error"
    DATA_ERROR = "data_error"
    OUT_OF_MEMORY = "out_of_memory"
    NON_FINITE_LOSS = "non_finite_loss"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    LOST = "lost"


def text_enum(kind: type[StrEnum]) -> Enum:
    """Stored as text with a CHECK, so that adding a value needs no ALTER TYPE."""
    return Enum(
        kind,
        native_enum=False,
        length=16,
        create_constraint=True,
        name=kind.__name__.lower(),
        values_callable=lambda members: [member.value for member in members],
    )


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("project_id", "idempotency_key"),
        Index(
            "ix_jobs_due", text("priority DESC"), "id", postgresql_where=text("status = 'queued'")
        ),
        Index("ix_jobs_project_id_id", "project_id", "id"),
        Index("ix_jobs_labels", "labels", postgresql_using="gin"),
        CheckConstraint("(status = 'running') = (phase IS NOT NULL)", name="phase_while_running"),
    )

    id: Mapped[str] = mapped_column(String(48), primary_key=True, default=lambda: new_id("job"))
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(200))
    model_type: Mapped[str] = mapped_column(String(64))
    spec: Mapped[dict[str, Any]] = mapped_column(JSONB)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    test_dataset_id: Mapped[str | None] = mapped_column(ForeignKey("datasets.id"), index=True)
    labels: Mapped[dict[str, str]] = mapped_column(JSONB, server_default=text("'{}'"))
    priority: Mapped[int] = mapped_column(default=0)
    retry_of: Mapped[str | None] = mapped_column(
        ForeignKey("jobs.id", ondelete="SET NULL"), index=True
    )
    # {"checkpoint_id", "step"} of the other job's checkpoint that this one goes on from
    retry_from: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_sha256: Mapped[str | None] = mapped_column(String(64))

    status: Mapped[JobStatus] = mapped_column(text_enum(JobStatus), default=JobStatus.QUEUED)
    phase: Mapped[Phase | None] = mapped_column(text_enum(Phase))
    requested: Mapped[Requested | None] = mapped_column(text_enum(Requested))
    reason: Mapped[Reason | None] = mapped_column(text_enum(Reason))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    attempt: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    failures: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    losses: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    not_before: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    step: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    total_steps: Mapped[int | None] = mapped_column(BigInteger)
    epoch: Mapped[float] = mapped_column(default=0.0, server_default=text("0"))
    eta_seconds: Mapped[float | None]
    evaluation: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    batch: Mapped[int] = mapped_column(
        BigInteger, default=0, server_default=text("0")
    )  # the last batch of writes of this attempt: makes a retried one a no-op
    event_seq: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))

    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    first_step_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Attempt(Base):
    """One run of a job by one worker. Metrics and checkpoints belong to an attempt."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        Index(
            "ix_attempts_running",
            "job_id",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    number: Mapped[int]
    status: Mapped[AttemptStatus] = mapped_column(
        text_enum(AttemptStatus), default=AttemptStatus.RUNNING
    )
    worker: Mapped[str] = mapped_column(String(255))
    resume_step: Mapped[int] = mapped_column(BigInteger, default=0)
    exit: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    ended_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class LeaseRow(Base):
    """A narrow table of its own, so that heartbeats touch neither jobs nor attempts."""

    __tablename__ = "leases"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int]
    worker: Mapped[str] = mapped_column(String(255))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
