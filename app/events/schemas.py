from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EventOut(BaseModel):
    """One entry of a job's feed."""

    model_config = ConfigDict(from_attributes=True)

    seq: int = Field(description="Rises by exactly one from entry to entry.")
    type: str = Field(
        examples=["state", "log", "metric", "checkpoint", "warning", "resumed", "lr_finder", "fold"]
    )
    attempt: int | None
    time: datetime
    data: dict[str, Any]


class EventsOut(BaseModel):
    data: list[EventOut]
    next_after: int = Field(description="Send this as `after` to get what follows.")


class LogsOut(BaseModel):
    lines: list[str]
    next_after: int = Field(description="Send this as `after` to get what follows.")
