from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text, update

from app.auth import Principal
from app.db import transaction
from app.projects.tables import ApiKey
from tests.factories import Account, make_account

PUBLIC = {"/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/redoc"}


def ask(server: TestClient, *headers: str) -> Any:
    server.headers.pop("Authorization", None)
    pairs = [("Authorization", value.encode("latin-1")) for value in headers]
    return server.get("/v1/jobs", headers=pairs)  # type: ignore[arg-type]


def test_a_key_opens_its_project(server: TestClient, account: Account) -> None:
    assert ask(server, f"Bearer {account.key}").status_code == 200
    assert ask(server, f"bearer  {account.key}").status_code == 200


def test_anything_else_is_refused_the_same_way(server: TestClient, account: Account) -> None:
    key = account.key
    flipped = key[:-1] + ("A" if key[-1] != "A" else "B")
    bad = [
        ["Bearer"],
        ["Bearer %"],
        ["Bearer é"],
        [f"Bearer {flipped}"],
        [f"Bearer {key[:-1]}"],
        [f"Bearer {key}x"],
        [f"Basic {key}"],
        [key],
        [f"Bearer ts_{'0' * 32}_{key[-43:]}"],
        [f"Bearer {key}", f"Bearer {flipped}"],
        [f"Bearer {key}", f"Bearer {key}"],
        [],
    ]
    for headers in bad:
        answer = ask(server, *headers)
        assert answer.status_code == 401, headers
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["type"] == "/problems/unauthenticated"


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
def test_a_revoked_or_expired_key_is_refused(
    server: TestClient, account: Account, column: str
) -> None:
    with transaction() as session:
        session.execute(update(ApiKey).values({column: text("now() - interval '1 second'")}))
    assert ask(server, f"Bearer {account.key}").status_code == 401


def test_every_route_but_a_few_needs_a_key(server: TestClient) -> None:
    server.headers.pop("Authorization", None)
    paths = server.get("/openapi.json").json()["paths"]
    walked = 0
    for path, operations in paths.items():
        if path in PUBLIC:
            continue
        for method in operations:
            answer = server.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, (method, path)
            walked += 1
    assert walked > 15


def test_scopes_form_a_ladder() -> None:
    def held(scope: str) -> list[bool]:
        principal = Principal("key", "proj", frozenset([scope]))
        return [principal.may(wanted) for wanted in ("read", "write", "admin", "other")]

    assert held("read") == [True, False, False, False]
    assert held("write") == [True, True, False, False]
    assert held("admin") == [True, True, True, False]


def test_the_secret_is_not_stored(account: Account) -> None:
    secret = account.key[-43:].encode()
    with transaction() as session:
        key = session.get(ApiKey, account.key_id)
        assert key is not None
        assert key.secret_sha256 != secret
        assert len(key.secret_sha256) == 32


def test_two_accounts_see_different_projects(server: TestClient, account: Account) -> None:
    other = make_account()
    server.headers.pop("Authorization", None)
    projects = [
        server.get("/v1/projects", headers=who.headers).json()["data"][0]["id"]
        for who in (account, other)
    ]
    assert projects == [account.project_id, other.project_id]
