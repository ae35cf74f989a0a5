"""Looking at, downloading and deleting datasets."""

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import storage
from app.datasets.service import delete_dataset
from app.db import transaction
from app.jobs import lifecycle, service
from app.jobs.tables import Job
from app.specs import JobSpec
from tests.factories import Account, job_body, make_account, make_dataset

CSV = b"x,y,label\n1,,a\n2.5,u,b\n3,v,a\n"


def upload(client: TestClient, filename: str = "t.csv", content: bytes = CSV) -> dict[str, Any]:
    response = client.post("/v1/datasets", files={"file": (filename, content)})
    assert response.status_code == 201, response.text
    return dict(response.json())


def test_a_dataset_is_shown_as_it_was_answered_at_first(client: TestClient) -> None:
    dataset = upload(client)
    assert client.get(f"/v1/datasets/{dataset['id']}").json() == dataset


def test_datasets_are_listed_newest_first_page_by_page(
    client: TestClient, account: Account
) -> None:
    ids = [make_dataset(account.project_id) for _ in range(3)]
    first = client.get("/v1/datasets?limit=2").json()
    assert [row["id"] for row in first["data"]] == ids[:0:-1]
    last = client.get("/v1/datasets", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [row["id"] for row in last["data"]] == ids[:1]
    assert last["next_cursor"] is None
    assert set(first["data"][0]["columns"][0]) == {"name", "kind", "missing", "distinct"}


def test_the_preview_shows_rows_as_they_are_trained_on(client: TestClient) -> None:
    dataset = upload(client)
    path = f"/v1/datasets/{dataset['id']}/preview"
    assert client.get(path).json() == {
        "columns": ["x", "y", "label"],
        "rows": [[1.0, None, "a"], [2.5, "u", "b"], [3.0, "v", "a"]],
    }
    assert len(client.get(path, params={"rows": 2}).json()["rows"]) == 2
    assert client.get(path, params={"rows": 0}).status_code == 422


def test_the_content_is_the_file_as_it_was_sent(client: TestClient) -> None:
    dataset = upload(client, 'é"; x=".csv')
    response = client.get(f"/v1/datasets/{dataset['id']}/content")
    assert response.content == CSV
    assert response.headers["etag"] == f'"{dataset["sha256"]}"'
    disposition = response.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.isascii()
    assert "\n" not in disposition
    assert disposition.count('"') == 2


def test_a_foreign_dataset_answers_like_an_absent_one(client: TestClient) -> None:
    foreign = make_dataset(make_account().project_id)
    absent = "ds_" + "0" * 32
    for method, tail in (
        ("GET", ""),
        ("GET", "/preview"),
        ("GET", "/content"),
        ("DELETE", ""),
    ):
        answers = [
            client.request(method, f"/v1/datasets/{id}{tail}").json()
            for id in (foreign, absent, "ds_1", "x" * 300)
        ]
        for answer in answers:
            assert answer.pop("request_id")
        assert answers[0]["status"] == 404
        assert all(answer == answers[0] for answer in answers)


# ---------------------------------------------------------------- deleting


def test_a_deleted_dataset_is_gone_with_its_files(client: TestClient) -> None:
    id = upload(client)["id"]
    for _ in range(2):
        assert client.delete(f"/v1/datasets/{id}").status_code == 204
    assert client.get(f"/v1/datasets/{id}").status_code == 404
    assert client.get("/v1/datasets").json()["data"] == []
    assert not storage.get_path(storage.dataset_key(id)).exists()


def test_only_a_writer_may_delete(client: TestClient, account: Account) -> None:
    id = make_dataset(account.project_id)
    reader = make_account("read", project_id=account.project_id)
    assert client.delete(f"/v1/datasets/{id}", headers=reader.headers).status_code == 403


@pytest.mark.parametrize("use", ["id", "test_id"])
def test_a_dataset_that_a_job_needs_stays_and_the_job_is_named(
    client: TestClient, account: Account, use: str
) -> None:
    needed, other = make_dataset(account.project_id), make_dataset(account.project_id)
    ids = {"id": needed} if use == "id" else {"id": other, "test_id": needed}
    job = client.post("/v1/jobs", json=job_body(needed, dataset=ids)).json()
    response = client.delete(f"/v1/datasets/{needed}")
    assert response.status_code == 409
    assert response.json()["type"].endswith("/dataset-in-use")
    assert job["id"] in response.json()["detail"]
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/datasets/{needed}").status_code == 204


def test_no_job_slips_in_while_its_dataset_is_deleted(client: TestClient, account: Account) -> None:
    """The job waits for the deletion, then finds nothing."""
    id = make_dataset(account.project_id)
    spec = JobSpec.model_validate(job_body(id))
    outcome: list[str] = []

    def submit() -> None:
        try:
            with transaction() as session:
                service.submit(session, account.project_id, spec, None)
            outcome.append("created")
        except Exception as error:
            outcome.append(type(error).__name__)

    with transaction() as session:
        delete_dataset(session, account.project_id, id)
        thread = threading.Thread(target=submit)
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()
    thread.join(timeout=10)
    assert outcome == ["ValidationError"]


def test_no_dataset_is_deleted_while_a_job_is_made(client: TestClient, account: Account) -> None:
    id = make_dataset(account.project_id)
    answers: list[int] = []
    with transaction() as session:
        spec = JobSpec.model_validate(job_body(id))
        service.plan_job(session, account.project_id, spec)
        thread = threading.Thread(
            target=lambda: answers.append(client.delete(f"/v1/datasets/{id}").status_code)
        )
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive()
        job = Job(
            project_id=account.project_id,
            name="j",
            model_type="logistic",
            spec=spec.model_dump(mode="json"),
            dataset_id=id,
        )
        lifecycle.add(session, job)
    thread.join(timeout=10)
    assert answers == [409]
