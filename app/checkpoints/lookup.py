"""What clients see of checkpoints."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.checkpoints.tables import Checkpoint
from app.errors import NotFound
from app.jobs.tables import Job
from app.pagination import fetch_page


def list_checkpoints(
    session: Session, job_id: str, limit: int, cursor: str | None
) -> tuple[Sequence[Checkpoint], str | None]:
    query = select(Checkpoint).where(Checkpoint.job_id == job_id)
    return fetch_page(session, query, Checkpoint.id, limit, cursor)


def find_checkpoint(
    session: Session, project_id: str, checkpoint_id: str
) -> tuple[Checkpoint, Job]:
    """Raises NotFound for a foreign checkpoint as for an absent one."""
    query = (
        select(Checkpoint, Job)
        .join(Job, Checkpoint.job_id == Job.id)
        .where(Checkpoint.id == checkpoint_id, Job.project_id == project_id)
    )
    found = session.execute(query).one_or_none()
    if found is None:
        raise NotFound("No such checkpoint.")
    checkpoint, job = found
    return checkpoint, job


def choose_evaluation(checkpoint: Checkpoint, job: Job) -> dict[str, Any]:
    """The final evaluation belongs to one checkpoint; the others were only validated."""
    if job.evaluation is not None and job.evaluation.get("checkpoint_step") == checkpoint.step:
        return job.evaluation
    return {"checkpoint_step": checkpoint.step, "validation": checkpoint.metrics}
