from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import transaction
from app.events.service import NewEvent
from app.jobs import lifecycle
from tests.factories import Account, claim_job, job_body, make_dataset


@pytest.fixture
def job_id(client: TestClient, account: Account) -> str:
    """A running job that has printed two chunks of lines."""
    body = job_body(make_dataset(account.project_id))
    job_id = str(client.post("/v1/jobs", json=body).json()["id"])
    lease = claim_job()
    logs = [NewEvent("log", {"lines": ["one", "two"]}), NewEvent("log", {"lines": ["three"]})]
    with transaction() as session:
        lifecycle.record(session, lease, [logs[0], NewEvent("metric", {"points": []}), logs[1]])
    return job_id


def read(client: TestClient, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_feed_has_no_gap_and_pages_from_any_seq(client: TestClient, job_id: str) -> None:
    path = f"/v1/jobs/{job_id}/events"
    page = read(client, path)
    assert [event["seq"] for event in page["data"]] == [1, 2, 3, 4, 5]
    assert [event["type"] for event in page["data"]] == ["state", "state", "log", "metric", "log"]
    assert page["data"][1]["data"]["status"] == "running"
    assert page["data"][1]["time"].endswith("Z")
    first = read(client, path, limit=2)
    assert first["next_after"] == 2
    rest = read(client, path, after=first["next_after"])
    assert [event["seq"] for event in rest["data"]] == [3, 4, 5]
    assert read(client, path, after=5) == {"data": [], "next_after": 5}


@pytest.mark.parametrize("query", ["after=-1", "limit=0", "limit=1001", "after=x", "before=1"])
def test_a_bad_query_is_refused(client: TestClient, job_id: str, query: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}/events?{query}").status_code == 422


def test_logs_are_text_or_json(client: TestClient, job_id: str) -> None:
    path = f"/v1/jobs/{job_id}/logs"
    text = client.get(path)
    assert text.headers["Content-Type"].startswith("text/plain")
    assert text.text == "one\ntwo\nthree\n"
    as_json = client.get(path, headers={"Accept": "application/json"}).json()
    assert as_json == {"lines": ["one", "two", "three"], "next_after": 5}


def test_logs_of_another_project_are_not_found(client: TestClient) -> None:
    assert client.get(f"/v1/jobs/job_{'0' * 32}/logs").status_code == 404
