"""What a failed job says of itself beside its own message."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.checkpoints.tables import Checkpoint
from app.events.tables import Event

LOG_LINES = 20


def complete_error(session: Session, job_id: str, error: dict[str, Any]) -> dict[str, Any]:
    """`error` with the last checkpoint of the job and the end of its log."""
    own = {name: value for name, value in error.items() if value is not None}
    return {
        "log_tail": tail_log(session, job_id),
        "checkpoint": find_last_checkpoint(session, job_id),
        **own,
    }


def find_last_checkpoint(session: Session, job_id: str) -> dict[str, Any] | None:
    """Never a broken one: what is not finite is not saved."""
    query = select(Checkpoint.id, Checkpoint.step).where(Checkpoint.job_id == job_id)
    row = session.execute(query.order_by(Checkpoint.step.desc(), Checkpoint.id.desc())).first()
    return None if row is None else {"id": row.id, "step": row.step}


def tail_log(session: Session, job_id: str) -> list[str]:
    query = select(Event.data).where(Event.job_id == job_id, Event.type == "log")
    pieces = session.scalars(query.order_by(Event.seq.desc()).limit(LOG_LINES)).all()
    return [line for data in reversed(pieces) for line in data["lines"]][-LOG_LINES:]
