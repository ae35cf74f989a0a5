"""Requests that move files for minutes. They hold no session meanwhile: `SessionDep` would keep a
connection and a transaction open until the last byte."""

from typing import Annotated, Any

from fastapi import Depends, Request, Security

from app.auth import Principal, Scope, authenticate, bearer
from app.db import transaction
from app.errors import Forbidden


def allow(scope: Scope) -> Any:
    """Who is asking, if their key has `scope`."""

    def check(request: Request, _: Annotated[Any, Security(bearer)] = None) -> Principal:
        with transaction() as session:
            principal = authenticate(request, session)
        if not principal.may(scope):
            raise Forbidden(f"This API key lacks the scope {scope!r}.")
        return principal

    return Depends(check)
