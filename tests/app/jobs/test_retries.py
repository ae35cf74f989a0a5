from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.checkpoints import service as checkpoints
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.leases import Lease
from app.jobs.retries import SUMS
from app.jobs.tables import Attempt, Reason
from app.storage import checkpoint_key, get_path
from tests.factories import Account, claim_job, job_body, make_dataset

FILES = ("model.safetensors", "state.safetensors")


def add_checkpoint(lease: Lease, step: int, best: bool = False) -> str:
    """A row and its files, which say whose they are. Returns its id."""
    key = checkpoint_key(lease.job_id, lease.attempt, step)
    folder = get_path(key)
    folder.mkdir(parents=True)
    for name in (*FILES, SUMS):
        (folder / name).write_text(f"{name} of step {step}")
    with transaction() as session:
        row = checkpoints.add_checkpoint(
            session,
            job_id=lease.job_id,
            attempt_id=lease.attempt_id,
            step=step,
            epoch=1.0,
            path=key,
            files={name: {"sha256": "0" * 64, "size_bytes": 10} for name in FILES},
            metrics={},
            best=best,
        )
        return row.id


@pytest.fixture
def lease(client: TestClient, account: Account) -> Lease:
    """A running job."""
    body = job_body(make_dataset(account.project_id))
    assert client.post("/v1/jobs", json=body).status_code == 201
    return claim_job()


def fail(lease: Lease) -> None:
    with transaction() as session:
        lifecycle.fail(session, lease, Reason.TIMEOUT, {"message": "late"}, retry=False)


def retry(client: TestClient, lease: Lease, start: str, **options: Any) -> Any:
    return client.post(f"/v1/jobs/{lease.job_id}/retry", json={"from": start}, **options)


@pytest.mark.parametrize(("start", "step"), [("last", 30), ("best", 20)])
def test_a_retry_goes_on_from_a_checkpoint(
    client: TestClient, lease: Lease, start: str, step: int
) -> None:
    ids = {s: add_checkpoint(lease, s, best=s == 20) for s in (10, 20, 30)}
    fail(lease)

    answer = retry(client, lease, start)

    assert answer.status_code == 202
    job = answer.json()
    assert job["retry_of"] == lease.job_id
    assert job["retry_from"] == {"checkpoint_id": ids[step], "step": step}
    new = claim_job()
    with transaction() as session:
        assert session.get_one(Attempt, new.attempt_id).resume_step == step


def test_the_best_so_far_comes_along(client: TestClient, lease: Lease) -> None:
    add_checkpoint(lease, 20, best=True)
    add_checkpoint(lease, 30)
    fail(lease)
    new = retry(client, lease, "last").json()["id"]
    folder = get_path(checkpoint_key(new, 0, 0)).parent
    assert sorted(path.name for path in folder.iterdir()) == ["s20", "s30"]


def test_what_was_inherited_survives_the_old_job(client: TestClient, lease: Lease) -> None:
    add_checkpoint(lease, 30)
    fail(lease)
    new = retry(client, lease, "last").json()["id"]
    assert client.delete(f"/v1/jobs/{lease.job_id}").status_code == 204
    folder = get_path(checkpoint_key(new, 0, 30))
    for name in (*FILES, SUMS):
        assert (folder / name).read_text() == f"{name} of step 30"
    assert client.get(f"/v1/jobs/{new}").json()["retry_of"] is None


@pytest.mark.parametrize("round", range(5))
def test_a_retry_that_meets_a_deletion_has_all_its_files_or_is_refused(
    client: TestClient, lease: Lease, round: int
) -> None:
    add_checkpoint(lease, 30)
    fail(lease)
    with ThreadPoolExecutor() as pool:
        retried = pool.submit(retry, client, lease, "last")
        deleted = pool.submit(client.delete, f"/v1/jobs/{lease.job_id}")
    assert deleted.result().status_code == 204
    if (answer := retried.result()).status_code == 202:
        folder = get_path(checkpoint_key(answer.json()["id"], 0, 30))
        assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, SUMS))
    else:
        assert answer.status_code in (404, 409)


@pytest.mark.parametrize("start", ["last", "best"])
def test_without_such_a_checkpoint_the_retry_is_refused(
    client: TestClient, lease: Lease, start: str
) -> None:
    if start == "best":
        add_checkpoint(lease, 10)
    fail(lease)
    answer = retry(client, lease, start)
    assert answer.status_code == 409
    assert answer.json()["type"] == "/problems/no-such-checkpoint"
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_a_retry_without_a_body_begins_anew(client: TestClient, lease: Lease) -> None:
    add_checkpoint(lease, 10)
    fail(lease)
    for answer in (
        client.post(f"/v1/jobs/{lease.job_id}/retry"),
        client.post(f"/v1/jobs/{lease.job_id}/retry", json={}),
        retry(client, lease, "scratch"),
    ):
        assert answer.status_code == 202
        assert answer.json()["retry_from"] is None


def test_an_unknown_start_is_refused(client: TestClient, lease: Lease) -> None:
    fail(lease)
    answer = retry(client, lease, "the middle")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["from"]


def test_one_key_makes_one_retry_and_another_start_needs_another_key(
    client: TestClient, lease: Lease
) -> None:
    add_checkpoint(lease, 10)
    fail(lease)
    headers = {"Idempotency-Key": "k"}
    first, second = (retry(client, lease, "last", headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert retry(client, lease, "scratch", headers=headers).status_code == 422


def test_a_failed_job_names_its_last_checkpoint(client: TestClient, lease: Lease) -> None:
    checkpoint_id = add_checkpoint(lease, 30)
    fail(lease)
    error = client.get(f"/v1/jobs/{lease.job_id}").json()["error"]
    assert error["checkpoint"] == {"id": checkpoint_id, "step": 30}
