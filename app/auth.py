"""API keys: `ts_<key id>_<secret>`. Only a hash of the secret is stored."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from app.deps import SessionDep
from app.errors import Forbidden, Unauthenticated
from app.projects.tables import ApiKey

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")  # each includes the ones before it
KEY_PATTERN = re.compile(r"Bearer +ts_([0-9a-f]{32})_([A-Za-z0-9_-]{43})", re.ASCII | re.IGNORECASE)

bearer = HTTPBearer(auto_error=False, bearerFormat="ts_<key id>_<secret>", scheme_name="api_key")


@dataclass(frozen=True)
class Principal:
    """Who is asking."""

    key_id: str
    project_id: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        rank = SCOPES.index(scope) if scope in SCOPES else len(SCOPES)
        return any(held in SCOPES and SCOPES.index(held) >= rank for held in self.scopes)


def hash_secret(secret: str) -> bytes:
    """The secret has 256 random bits: a slow hash would protect nothing."""
    return hashlib.sha256(secret.encode()).digest()


def authenticate(
    request: Request, session: SessionDep, _: Annotated[Any, Security(bearer)] = None
) -> Principal:
    headers = request.headers.getlist("authorization")
    match = KEY_PATTERN.fullmatch(headers[0].strip()) if len(headers) == 1 else None
    if match is None:
        raise Unauthenticated
    principal = find_principal(session, f"key_{match[1].lower()}", match[2])
    request.state.principal = principal
    return principal


def find_principal(session: Session, key_id: str, secret: str) -> Principal:
    row = session.execute(select(ApiKey, _live()).where(ApiKey.id == key_id)).one_or_none()
    expected = row[0].secret_sha256 if row else bytes(32)
    if not hmac.compare_digest(expected, hash_secret(secret)) or row is None:
        raise Unauthenticated("This API key is not valid.")
    key, live = row
    if not live:
        raise Unauthenticated("This API key has been revoked or has expired.")
    return Principal(key.id, key.project_id, frozenset(key.scopes))


def is_live(session: Session, key_id: str) -> bool:
    return bool(session.scalar(select(_live()).where(ApiKey.id == key_id)))


def _live() -> ColumnElement[bool]:
    in_time = func.coalesce(ApiKey.expires_at > func.clock_timestamp(), True)
    return and_(ApiKey.revoked_at.is_(None), in_time)


PrincipalDep = Annotated[Principal, Depends(authenticate, scope="function")]


def require(scope: Scope) -> Any:
    """A dependency that refuses keys without `scope`."""

    def check_scope(principal: PrincipalDep) -> None:
        if not principal.may(scope):
            raise Forbidden(f"This API key lacks the scope {scope!r}.")

    return Depends(check_scope)
