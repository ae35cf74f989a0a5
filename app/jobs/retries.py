"""New jobs from the spec of one that has ended, anew or from one of its checkpoints.

The new job gets links of its own to the files of that checkpoint: whatever becomes of the old job,
they stay. They are removed by the sweep once the new job has ended.
"""

import hashlib
import os
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.checkpoints.service import NEWEST
from app.checkpoints.tables import Checkpoint
from app.errors import Conflict, NotFound
from app.ids import new_id
from app.jobs.service import Submitted, add_job, find_replay, forbid, plan_job
from app.jobs.tables import TERMINAL, Job
from app.specs import JobSpec
from app.storage import INHERITED, checkpoint_key, get_path, sync_folder

SUMS = "SHA256SUMS"  # stands beside the files of a checkpoint
Start = Literal["scratch", "last", "best"]


class NoSuchCheckpoint(Conflict):
    """The job has no such checkpoint to go on from. Retry it from scratch."""


def retry(session: Session, job: Job, start: Start, key: str | None) -> Submitted:
    """Only a job that has ended can be retried. Raises NoSuchCheckpoint."""
    what = f"retry {job.id}" if start == "scratch" else f"retry {job.id} from {start}"
    digest = hashlib.sha256(what.encode()).hexdigest()
    earlier = find_replay(session, job.project_id, key, digest)
    if earlier is not None:
        return Submitted(earlier, replayed=True)
    if job.status not in TERMINAL:
        raise forbid(job, "retry")
    spec = JobSpec.model_validate(job.spec)
    plan = plan_job(session, job.project_id, spec)
    new_job_id = new_id("job")
    origin = None if start == "scratch" else inherit(session, job, start, new_job_id)
    values = {"id": new_job_id, "retry_of": job.id, "retry_from": origin}
    new = add_job(session, job.project_id, plan, key, digest, **values)
    return Submitted(new, replayed=False)


def inherit(session: Session, job: Job, start: Start, new_job_id: str) -> dict[str, Any]:
    """Give a checkpoint of `job` to the new job. Files come before the row that speaks of them."""
    hold(session, job)
    found = select(Checkpoint).where(Checkpoint.job_id == job.id).order_by(*NEWEST)
    checkpoints = session.scalars(found).all()
    best = [checkpoint for checkpoint in checkpoints if checkpoint.best]
    chosen = next(iter(best if start == "best" else checkpoints), None)
    if chosen is None:
        raise NoSuchCheckpoint
    for checkpoint in {chosen.id: chosen, **{each.id: each for each in best}}.values():
        if checkpoint.step <= chosen.step:  # the best so far is part of the state of training
            target = get_path(checkpoint_key(new_job_id, INHERITED, checkpoint.step))
            link_files(checkpoint, target)
    return {"checkpoint_id": chosen.id, "step": chosen.step}


def hold(session: Session, job: Job) -> None:
    """Nobody deletes `job` until this transaction ends."""
    query = select(Job.id).where(Job.id == job.id).with_for_update(read=True, key_share=True)
    if session.scalar(query) is None:
        raise NotFound("No such job.")


def link_files(checkpoint: Checkpoint, target: Path) -> None:
    """The same files under a second name; they are never written to again."""
    target.mkdir(parents=True)
    try:
        for name in (*checkpoint.files, SUMS):
            os.link(get_path(checkpoint.path) / name, target / name)
    except FileNotFoundError as error:
        raise NoSuchCheckpoint("The files of this checkpoint are missing.") from error
    for folder in (target, *target.parents[:3]):  # its attempt, its job, all jobs
        sync_folder(folder)
