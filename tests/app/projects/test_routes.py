import pytest
from fastapi.testclient import TestClient

from tests.factories import Account, make_account


def test_a_new_project_comes_with_a_key_that_opens_it(client: TestClient) -> None:
    answer = client.post("/v1/projects", json={"name": "vision"})
    assert answer.status_code == 201
    project = answer.json()
    headers = {"Authorization": f"Bearer {project['key']['key']}"}
    assert client.get("/v1/projects", headers=headers).json()["data"] == [
        {name: project[name] for name in project if name != "key"}
    ]
    assert client.post("/v1/projects", json={"name": "vision"}).status_code == 409


def test_a_key_is_shown_once_and_revoked_for_good(client: TestClient) -> None:
    created = client.post("/v1/keys", json={"name": "ci", "scopes": ["write"]}).json()
    headers = {"Authorization": f"Bearer {created['key']}"}
    assert client.get("/v1/jobs", headers=headers).status_code == 200
    listed = client.get("/v1/keys").json()["data"]
    assert [key["name"] for key in listed] == ["ci", "test"]
    assert created["key"] not in str(listed)
    for _ in range(2):
        assert client.delete(f"/v1/keys/{created['id']}").status_code == 204
    assert client.get("/v1/jobs", headers=headers).status_code == 401


@pytest.mark.parametrize("scopes", [["read"], ["read", "write"]])
def test_only_an_admin_key_makes_keys(
    client: TestClient, account: Account, scopes: list[str]
) -> None:
    lesser = make_account(*scopes, project_id=account.project_id).headers
    for path in ("/v1/keys", "/v1/projects"):
        answer = client.post(path, json={"name": "x"}, headers=lesser)
        assert answer.status_code == 403
        assert answer.json()["type"] == "/problems/forbidden"


def test_a_key_may_expire(client: TestClient) -> None:
    body = {"name": "old", "expires_at": "2001-01-01T00:00:00Z"}
    created = client.post("/v1/keys", json=body).json()
    assert created["expires_at"] == "2001-01-01T00:00:00Z"
    headers = {"Authorization": f"Bearer {created['key']}"}
    assert client.get("/v1/jobs", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": ["admin"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "expires_at": "2001-01-01T00:00:00"},
        {"name": "x", "project_id": "proj_1"},
    ],
)
def test_a_bad_key_request_is_refused(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/v1/keys", json=body).status_code == 422


def test_a_foreign_key_is_not_found(client: TestClient) -> None:
    assert client.delete(f"/v1/keys/{make_account().key_id}").status_code == 404
    assert client.delete("/v1/keys/%00").status_code == 404
