"""Checkpoints on the wire."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from app.checkpoints.tables import Checkpoint


class FileInfo(BaseModel):
    sha256: str
    size_bytes: int


class CheckpointOut(BaseModel):
    id: str
    job_id: str
    step: int
    epoch: float
    best: bool = Field(description="Whether it is the best so far by the monitored metric.")
    pinned: bool = Field(description="Kept until unpinned: by pruning, and its job by expiry.")
    metrics: dict[str, float] = Field(description="What validation said at this step.")
    files: dict[str, FileInfo]
    size_bytes: int = Field(description="Of all its files.")
    created_at: datetime
    links: dict[str, str]


def show(checkpoint: Checkpoint) -> dict[str, Any]:
    shown = CheckpointOut.model_fields.keys() - {"size_bytes", "links"}
    base = f"/v1/checkpoints/{checkpoint.id}"
    return {
        **{name: getattr(checkpoint, name) for name in shown},
        "size_bytes": sum(file["size_bytes"] for file in checkpoint.files.values()),
        "links": {"self": base, "download": f"{base}/download"},
    }
