"""Projects and the keys that open them."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.auth import SCOPES, Principal, hash_secret
from app.errors import Conflict, Forbidden, NotFound
from app.projects.tables import ApiKey, Project


def create_project(session: Session, name: str) -> Project:
    statement = insert(Project).values(name=name).on_conflict_do_nothing().returning(Project)
    project = session.scalar(statement)
    if project is None:
        raise Conflict("A project of this name exists.")
    return project


def limit_project(
    session: Session, name: str, max_queued: int | None, max_running: int | None
) -> Project:
    """Set both caps; None lifts one. Jobs that wait or run already stay."""
    statement = update(Project).where(Project.name == name).returning(Project)
    project = session.scalar(statement.values(max_queued=max_queued, max_running=max_running))
    if project is None:
        raise NotFound(f"There is no project {name!r}.")
    return project


def create_key(
    session: Session,
    project_id: str,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """The row, and the key itself, which is stored nowhere."""
    secret = secrets.token_urlsafe(32)
    key = ApiKey(
        project_id=project_id,
        name=name,
        secret_sha256=hash_secret(secret),
        scopes=[scope for scope in SCOPES if scope in scopes],
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return key, f"ts_{key.id.removeprefix('key_')}_{secret}"


def grant_key(
    session: Session,
    principal: Principal,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """A key for the project of `principal`, with no scope that `principal` lacks."""
    for scope in scopes:
        if not principal.may(scope):
            raise Forbidden(f"A key without the scope {scope!r} cannot grant it.")
    return create_key(session, principal.project_id, name, scopes, expires_at)


def list_projects(session: Session, project_id: str) -> Sequence[Project]:
    return session.scalars(select(Project).where(Project.id == project_id)).all()


def revoke_key(session: Session, project_id: str, key_id: str) -> None:
    """Revoking twice keeps the first time."""
    revoked = session.scalar(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.project_id == project_id)
        .values(revoked_at=func.coalesce(ApiKey.revoked_at, func.now()))
        .returning(ApiKey.id)
    )
    if revoked is None:
        raise NotFound("No such key.")
