"""The job that a path names: 404 happens here and nowhere else."""

import re
from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.auth import PrincipalDep
from app.deps import SessionDep
from app.errors import NotFound
from app.jobs.tables import Job

JOB_ID = re.compile(r"job_[0-9a-f]{32}")


JobId = Annotated[str, Path(description="`job_` and 32 hex digits.")]


def get_job(job_id: JobId, principal: PrincipalDep, session: SessionDep) -> Job:
    return find_job(session, principal.project_id, job_id)


def find_job(session: Session, project_id: str, job_id: str) -> Job:
    """Raises NotFound for a foreign job as for an absent one."""
    job = None
    if JOB_ID.fullmatch(job_id):
        query = select(Job).where(Job.id == job_id, Job.project_id == project_id)
        job = session.scalar(query)
    if job is None:
        raise NotFound("No such job.")
    return job


JobDep = Annotated[Job, Depends(get_job, scope="function")]
