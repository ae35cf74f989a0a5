import re
from typing import Annotated, Any

from fastapi import Depends, Path, Response
from sqlalchemy import select

from app.auth import PrincipalDep, require
from app.deps import SessionDep
from app.errors import NotFound
from app.pagination import CursorQuery, LimitQuery, Page, fetch_page
from app.projects import service
from app.projects.schemas import (
    KeyCreated,
    KeyOut,
    NewKey,
    NewProject,
    ProjectCreated,
    ProjectOut,
)
from app.projects.tables import ApiKey
from app.routing import make_router

router = make_router(tags=["projects"])
KEY_ID = re.compile(r"key_[0-9a-f]{32}")


def read_key_id(key_id: Annotated[str, Path(description="`key_` and 32 hex digits.")]) -> str:
    if not KEY_ID.fullmatch(key_id):
        raise NotFound("No such key.")
    return key_id


KeyId = Annotated[str, Depends(read_key_id)]


def show_key(key: ApiKey, plaintext: str) -> KeyCreated:
    return KeyCreated(**KeyOut.model_validate(key).model_dump(), key=plaintext)


@router.post(
    "/projects", status_code=201, dependencies=[require("admin")], response_model=ProjectCreated
)
def create_project(new: NewProject, session: SessionDep) -> Any:
    """Create a project and its first key, which is shown this once."""
    project = service.create_project(session, new.name)
    key, plaintext = service.create_key(session, project.id, "first key", ["admin"])
    shown = ProjectOut.model_validate(project).model_dump()
    return ProjectCreated(**shown, key=show_key(key, plaintext))


@router.get("/projects", response_model=Page[ProjectOut])
def list_projects(principal: PrincipalDep, session: SessionDep) -> Any:
    """The project that the key belongs to."""
    return {"data": service.list_projects(session, principal.project_id), "next_cursor": None}


@router.post("/keys", status_code=201, dependencies=[require("admin")], response_model=KeyCreated)
def create_key(new: NewKey, principal: PrincipalDep, session: SessionDep) -> Any:
    """Create a key of this project. The key is shown this once; only a hash of it is kept."""
    key, plaintext = service.grant_key(session, principal, new.name, new.scopes, new.expires_at)
    return show_key(key, plaintext)


@router.get("/keys", dependencies=[require("admin")], response_model=Page[KeyOut])
def list_keys(
    principal: PrincipalDep, session: SessionDep, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Any:
    """The keys of this project, newest first, revoked ones too."""
    query = select(ApiKey).where(ApiKey.project_id == principal.project_id)
    rows, next_cursor = fetch_page(session, query, ApiKey.id, limit, cursor, filters="keys")
    return {"data": rows, "next_cursor": next_cursor}


@router.delete("/keys/{key_id}", status_code=204, dependencies=[require("admin")])
def revoke_key(key_id: KeyId, principal: PrincipalDep, session: SessionDep) -> Response:
    """Revoke a key at once. Requests and streams that use it end."""
    service.revoke_key(session, principal.project_id, key_id)
    return Response(status_code=204)
