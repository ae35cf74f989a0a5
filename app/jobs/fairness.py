"""Which job comes next."""

from sqlalchemy import Select, Subquery, func, or_, select
from sqlalchemy.orm import Session, aliased

from app.jobs.clock import interval, now
from app.jobs.tables import Attempt, Job, JobStatus
from app.projects.tables import Project

WINDOW_SECONDS = 86_400.0


def _used_seconds() -> Subquery:
    """Worker time per project over the last day, running attempts included."""
    ended = func.coalesce(Attempt.ended_at, now())
    seconds = func.sum(func.extract("epoch", ended - Attempt.started_at))
    return (
        select(Job.project_id, seconds.label("seconds"))
        .join(Attempt, Attempt.job_id == Job.id)
        .where(ended > now() - interval(WINDOW_SECONDS))
        .group_by(Job.project_id)
        .subquery()
    )


def due_jobs() -> Select[str]:
    """Ids of the jobs that may start now, best first.

    Highest priority, then the project that used the least worker time lately, then the oldest.
    """
    used, running = _used_seconds(), aliased(Job)
    running_jobs = (
        select(func.count())
        .where(running.project_id == Job.project_id, running.status == JobStatus.RUNNING)
        .scalar_subquery()
    )
    return (
        select(Job.id)
        .join(Project, Project.id == Job.project_id)
        .outerjoin(used, used.c.project_id == Job.project_id)
        .where(Job.status == JobStatus.QUEUED, Job.not_before <= now())
        .where(or_(Project.max_running.is_(None), running_jobs < Project.max_running))
        .order_by(Job.priority.desc(), func.coalesce(used.c.seconds, 0), Job.id)
    )


def count_due(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(due_jobs().subquery())) or 0
