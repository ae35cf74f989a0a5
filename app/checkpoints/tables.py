from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.ids import new_id


class Checkpoint(Base):
    """A resumable state of a job, in the folder `path` of the blob store.

    `files` maps each file name to its `{"sha256", "size_bytes"}`.
    """

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("attempt_id", "step"),
        Index("ix_checkpoints_job_id_id", "job_id", "id"),
    )

    id: Mapped[str] = mapped_column(String(48), primary_key=True, default=lambda: new_id("ckpt"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempts.id", ondelete="CASCADE"))
    step: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[float]
    path: Mapped[str] = mapped_column(String(255), unique=True)
    files: Mapped[dict[str, dict[str, Any]]] = mapped_column(JSONB)
    metrics: Mapped[dict[str, float]] = mapped_column(JSONB)
    best: Mapped[bool] = mapped_column(default=False)
    pinned: Mapped[bool] = mapped_column(default=False, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.clock_timestamp()
    )
