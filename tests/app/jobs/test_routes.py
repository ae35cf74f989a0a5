from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app.db import transaction
from app.jobs import lifecycle
from app.jobs.tables import Job, Reason
from app.projects.tables import Project
from app.storage import get_path, job_key
from tests.factories import (
    Account,
    category,
    claim_job,
    job_body,
    make_account,
    make_dataset,
    number,
)

Create = Callable[..., dict[str, Any]]
EVALUATION = {  # as the engine makes it
    "task": "classification",
    "checkpoint_step": 120,
    "monitor": "validation/loss",
    "validation": {"loss": 0.2, "accuracy": 0.9},
    "test": {"loss": 0.3, "accuracy": 0.8},
    "rows": {"train": 120, "validation": 15, "test": 15},
    "classes": ["x", "y"],
    "confusion_matrix": [[7, 1], [2, 5]],
    "baseline": {"kind": "majority_class", "loss": 0.7, "accuracy": 0.5},
    "warnings": [],
}


@pytest.fixture
def dataset(account: Account) -> str:
    return make_dataset(account.project_id)


@pytest.fixture
def create(client: TestClient, dataset: str) -> Create:
    def create(**parts: Any) -> dict[str, Any]:
        answer = client.post("/v1/jobs", json=job_body(dataset, **parts))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return create


def count_jobs() -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def finish_job(reason: Reason | None = None) -> str:
    lease = claim_job()
    with transaction() as session:
        if reason is None:
            lifecycle.succeed(session, lease, EVALUATION)
        else:
            lifecycle.fail(session, lease, reason, {"message": "no"}, retry=False)
    return lease.job_id


# ---------------------------------------------------------------- create


def test_a_created_job_is_queued_with_every_default_filled_in(
    client: TestClient, dataset: str
) -> None:
    answer = client.post("/v1/jobs", json=job_body(dataset))
    job = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["queue_position"], job["attempt"]) == ("queued", 1, 0)
    assert job["waiting_for"] == "a free worker"
    assert job["spec"]["dataset"]["inputs"] == ["length", "width", "color"]
    assert job["spec"]["dataset"]["split"]["stratify"] is True
    assert job["spec"]["training"]["loss"]["type"] == "binary_cross_entropy"
    assert job["created_at"].endswith("Z")
    assert client.get(answer.headers["Location"]).json() == job


def test_the_feed_begins_with_what_the_plan_warns_about(
    client: TestClient, account: Account, create: Create
) -> None:
    columns = [number("length"), number("same", distinct=1), category("species", "x", "y")]
    body = job_body(make_dataset(account.project_id, *columns))
    (warning,) = client.post("/v1/jobs/validate", json=body).json()["warnings"]
    job_id = client.post("/v1/jobs", json=body).json()["id"]
    events = client.get(f"/v1/jobs/{job_id}/events").json()["data"]
    assert [(event["seq"], event["type"]) for event in events] == [(1, "state"), (2, "warning")]
    assert events[1]["data"] == {"message": f"dataset.inputs: {warning['message']}"}
    claim_job()
    assert client.get(f"/v1/jobs/{job_id}/events").json()["data"][2]["seq"] == 3
    quiet = client.get(f"/v1/jobs/{create()['id']}/events").json()["data"]
    assert [event["type"] for event in quiet] == ["state"]


def test_validate_answers_the_plan_and_queues_nothing(client: TestClient, dataset: str) -> None:
    plan = client.post("/v1/jobs/validate", json=job_body(dataset)).json()
    assert plan["rows"] == {"usable": 150, "train": 120, "validation": 15, "test": 15}
    assert plan["parameter_count"] == 1 + 1 + 3 + 1
    assert plan["warnings"] == []
    assert count_jobs() == 0


def test_an_error_names_the_field_and_the_fix(client: TestClient, dataset: str) -> None:
    body = job_body(dataset, dataset={"target": "specie"})
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/validation-error"
    (error,) = answer.json()["errors"]
    assert error["loc"] == ["dataset", "target"]
    assert "'species'" in error["message"]


def test_a_foreign_or_deleted_dataset_is_unknown(client: TestClient) -> None:
    foreign = make_dataset(make_account().project_id)
    answer = client.post("/v1/jobs", json=job_body(foreign))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["dataset", "id"]


def test_a_job_that_needs_too_much_memory_is_refused(client: TestClient, dataset: str) -> None:
    model = {"type": "mlp", "hidden": [65_536] * 8}
    answer = client.post("/v1/jobs", json=job_body(dataset, model=model))
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/resource-limit"


def test_a_read_key_cannot_create(client: TestClient, account: Account, dataset: str) -> None:
    reader = make_account("read", project_id=account.project_id)
    answer = client.post("/v1/jobs", json=job_body(dataset), headers=reader.headers)
    assert answer.status_code == 403
    assert client.get("/v1/jobs", headers=reader.headers).status_code == 200


def test_a_full_queue_refuses_more(client: TestClient, account: Account, create: Create) -> None:
    with transaction() as session:
        session.execute(update(Project).values(max_queued=1))
    body = job_body(create()["dataset_id"])
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/quota-exceeded"


# ---------------------------------------------------------------- idempotency


def test_a_hundred_parallel_submits_with_one_key_make_one_job(
    client: TestClient, dataset: str
) -> None:
    def submit(_: int) -> tuple[int, str, str | None]:
        answer = client.post("/v1/jobs", json=job_body(dataset), headers={"Idempotency-Key": "one"})
        replayed = answer.headers.get("Idempotency-Replayed")
        return answer.status_code, answer.json().get("id", answer.text), replayed

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(submit, range(100)))
    assert {status for status, _, _ in answers} == {201}
    assert len({job_id for _, job_id, _ in answers}) == 1
    assert [replayed for _, _, replayed in answers].count(None) == 1
    assert count_jobs() == 1


def test_a_key_is_not_good_for_another_body(client: TestClient, dataset: str) -> None:
    headers = {"Idempotency-Key": "one"}
    client.post("/v1/jobs", json=job_body(dataset), headers=headers)
    answer = client.post("/v1/jobs", json=job_body(dataset, name="other"), headers=headers)
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/idempotency-key-reused"


def test_two_projects_may_use_the_same_key(client: TestClient, create: Create) -> None:
    headers = {"Idempotency-Key": "one"}
    other = make_account()
    body = job_body(make_dataset(other.project_id))
    client.post("/v1/jobs", json=job_body(create()["dataset_id"]), headers=headers)
    answer = client.post("/v1/jobs", json=body, headers=headers | other.headers)
    assert answer.status_code == 201
    assert "Idempotency-Replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", " ", "a\tb", "é", "x" * 256])
def test_a_bad_idempotency_key_is_refused(client: TestClient, dataset: str, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = client.post("/v1/jobs", json=job_body(dataset), headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/idempotency-key-invalid"
    assert count_jobs() == 0


# ---------------------------------------------------------------- list


def test_pages_show_each_job_once_newest_first(client: TestClient, create: Create) -> None:
    made = [create()["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/jobs", params={"limit": 2, **cursor}).json()
        seen += [job["id"] for job in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


def test_filters_narrow_the_list(client: TestClient, create: Create) -> None:
    first = create(name="50% off", labels={"team": "search", "kind": "a"})
    second = create(name="plain", labels={"team": "ads"}, model={"type": "mlp"})

    def find(**params: Any) -> list[str]:
        answer = client.get("/v1/jobs", params=params)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["data"]]

    both = [second["id"], first["id"]]
    assert find() == both
    assert find(sort="created_at") == both[::-1]
    assert find(name="%") == [first["id"]]
    assert find(name="_") == []
    assert find(model="mlp") == [second["id"]]
    assert find(status=["queued", "running"]) == both
    assert find(status="failed") == []
    assert find(**{"label.team": "search", "label.kind": "a"}) == [first["id"]]
    assert find(**{"label.team": "search", "label.kind": "b"}) == []
    assert find(created_after="2000-01-01T00:00:00Z") == both
    assert find(created_after="2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=abc",
        "cursor=garbage",
        "cursor=WyJhIiwiYiJd",
        "sort=__class__",
        "status=unknown",
        "name=%00",
        "created_after=yesterday",
        "created_after=0000-00-00",
        "unknown=1",
        "limit=1&limit=2",
        "label.k=%00",
    ],
)
def test_a_bad_query_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/validation-error"
    assert answer.json()["errors"][0]["loc"][0] == "query"


def test_a_cursor_is_good_for_its_own_filter_only(client: TestClient, create: Create) -> None:
    create(), create()
    cursor = client.get("/v1/jobs?limit=1").json()["next_cursor"]
    assert client.get(f"/v1/jobs?limit=1&cursor={cursor}").status_code == 200
    assert client.get(f"/v1/jobs?limit=1&name=a&cursor={cursor}").status_code == 422


def test_no_job_of_another_project_is_seen(client: TestClient, create: Create) -> None:
    job = create()
    stranger = make_account().headers
    assert client.get("/v1/jobs", headers=stranger).json()["data"] == []
    absent = client.get(f"/v1/jobs/job_{'0' * 32}", headers=stranger)
    foreign = client.get(f"/v1/jobs/{job['id']}", headers=stranger)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.json() | {"request_id": ""} == absent.json() | {"request_id": ""}
    for action in ("cancel", "pause", "resume", "retry"):
        answer = client.post(f"/v1/jobs/{job['id']}/{action}", headers=stranger)
        assert answer.status_code == 404
    assert client.delete(f"/v1/jobs/{job['id']}", headers=stranger).status_code == 404


# ---------------------------------------------------------------- steer


def test_a_queued_job_is_cancelled_at_once(client: TestClient, create: Create) -> None:
    path = f"/v1/jobs/{create()['id']}"
    answer = client.post(f"{path}/cancel")
    assert answer.status_code == 202
    assert answer.json()["status"] == "cancelled"
    assert client.post(f"{path}/cancel").status_code == 202
    assert len(client.get(f"{path}/events").json()["data"]) == 2


def test_a_running_job_is_asked_to_stop(client: TestClient, create: Create) -> None:
    path = f"/v1/jobs/{create()['id']}"
    claim_job()
    answer = client.post(f"{path}/cancel").json()
    assert (answer["status"], answer["requested"], answer["phase"]) == (
        "running",
        "cancel",
        "preparing",
    )
    assert client.post(f"{path}/pause").status_code == 409


def test_pause_and_resume_a_queued_job(client: TestClient, create: Create) -> None:
    path = f"/v1/jobs/{create()['id']}"
    assert client.post(f"{path}/pause").json()["status"] == "paused"
    assert client.post(f"{path}/resume").json()["status"] == "queued"
    answer = client.post(f"{path}/resume")
    assert answer.status_code == 409
    assert "queued" in answer.json()["detail"]


def test_a_job_that_has_ended_refuses_everything_but_retry(
    client: TestClient, create: Create
) -> None:
    job = create()
    finish_job()
    path = f"/v1/jobs/{job['id']}"
    for action in ("cancel", "pause", "resume"):
        answer = client.post(f"{path}/{action}")
        assert answer.status_code == 409
        assert "succeeded" in answer.json()["detail"]
    again = client.post(f"{path}/retry")
    assert again.status_code == 202
    assert again.headers["Location"] == f"/v1/jobs/{again.json()['id']}"
    assert again.json()["retry_of"] == job["id"]
    assert again.json()["spec"] == job["spec"]


def test_only_a_job_that_has_ended_is_retried(client: TestClient, create: Create) -> None:
    answer = client.post(f"/v1/jobs/{create()['id']}/retry")
    assert answer.status_code == 409


def test_a_failed_job_tells_why(client: TestClient, create: Create) -> None:
    create()
    job = client.get(f"/v1/jobs/{finish_job(Reason.DATA_ERROR)}").json()
    assert (job["status"], job["reason"]) == ("failed", "data_error")
    assert job["error"]["message"] == "no"
    assert job["finished_at"].endswith("Z")


def test_deleting_removes_rows_and_files(client: TestClient, create: Create) -> None:
    job = create()
    finish_job()
    folder = get_path(job_key(job["id"]))
    folder.mkdir(parents=True)
    (folder / "a file").write_text("x")
    path = f"/v1/jobs/{job['id']}"
    assert client.delete(path).status_code == 204
    assert not folder.exists()
    assert client.get(path).status_code == 404
    assert count_jobs() == 0


def test_a_job_that_waits_or_runs_is_not_deleted(client: TestClient, create: Create) -> None:
    path = f"/v1/jobs/{create()['id']}"
    assert client.delete(path).status_code == 409
    claim_job()
    answer = client.delete(path)
    assert answer.status_code == 409
    assert "running" in answer.json()["detail"]


def test_the_queue_position_follows_priority(client: TestClient, create: Create) -> None:
    low, high = create(), create(priority=5)
    positions = [client.get(f"/v1/jobs/{job['id']}").json() for job in (low, high)]
    assert [job["queue_position"] for job in positions] == [2, 1]


def test_an_evaluation_is_there_once_the_job_has_one(client: TestClient, create: Create) -> None:
    path = f"/v1/jobs/{create()['id']}/evaluation"
    answer = client.get(path)
    assert answer.status_code == 404
    assert "queued" in answer.json()["detail"]
    finish_job()
    assert client.get(path).json() == EVALUATION


def test_a_job_shows_the_figures_of_its_evaluation_but_not_its_tables(
    client: TestClient, create: Create
) -> None:
    path = f"/v1/jobs/{create()['id']}"
    assert client.get(path).json()["evaluation"] is None
    finish_job()
    shown = client.get(path).json()["evaluation"]
    for name in ("task", "checkpoint_step", "monitor", "validation", "test", "baseline", "rows"):
        assert shown[name] == EVALUATION[name]
    assert "confusion_matrix" not in shown
