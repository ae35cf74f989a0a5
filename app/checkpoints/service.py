"""The checkpoints that workers commit, prune and resume from."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.checkpoints.tables import Checkpoint
from app.errors import NotFound

# Newest first. Steps of one job only ever repeat when an attempt went back to an older one.
NEWEST = (Checkpoint.step.desc(), Checkpoint.id.desc())


def add_checkpoint(
    session: Session,
    *,
    job_id: str,
    attempt_id: int,
    step: int,
    epoch: float,
    path: str,
    files: dict[str, dict[str, Any]],
    metrics: dict[str, float],
    best: bool,
) -> Checkpoint:
    """List a checkpoint whose folder is durable. The caller holds the lock on the job's row."""
    if best:
        former = update(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.best)
        session.execute(former.values(best=False))
    checkpoint = Checkpoint(
        job_id=job_id,
        attempt_id=attempt_id,
        step=step,
        epoch=epoch,
        path=path,
        files=files,
        metrics=metrics,
        best=best,
    )
    session.add(checkpoint)
    session.flush()
    return checkpoint


def set_pinned(session: Session, checkpoint: Checkpoint, pinned: bool) -> Checkpoint:
    """Raises NotFound where it has been pruned meanwhile."""
    statement = update(Checkpoint).where(Checkpoint.id == checkpoint.id).values(pinned=pinned)
    changed: Checkpoint | None = session.scalar(
        statement.returning(Checkpoint).execution_options(populate_existing=True)
    )
    if changed is None:
        raise NotFound("No such checkpoint.")
    return changed


def prune(session: Session, job_id: str, keep_last: int, keep_best: int) -> list[str]:
    """Unlist all but the newest and the best. Returns their storage keys: remove those folders
    once this is committed."""
    newest = select(Checkpoint.id).where(Checkpoint.job_id == job_id).order_by(*NEWEST)
    doomed = delete(Checkpoint).where(
        Checkpoint.job_id == job_id,
        Checkpoint.id.not_in(newest.limit(keep_last)),
        Checkpoint.pinned.is_(False),
    )
    if keep_best:
        doomed = doomed.where(Checkpoint.best.is_(False))
    return list(session.scalars(doomed.returning(Checkpoint.path)))


def drop_after(session: Session, job_id: str, step: int) -> list[str]:
    """Unlist what lies beyond the step that a job went back to: its weights will come again, from
    another attempt. Returns storage keys, as `prune` does."""
    beyond = delete(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step > step)
    return list(session.scalars(beyond.returning(Checkpoint.path)))


def list_resumable(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Newest first: whoever resumes takes the first intact one."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(*NEWEST)
    return session.scalars(query).all()
