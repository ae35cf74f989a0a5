import pytest
from fastapi.testclient import TestClient

from app.checkpoints.service import prune
from app.db import transaction
from app.retention.sweep import sweep
from app.storage import dataset_key, get_path, job_key
from tests.app.retention.conftest import add_checkpoint, add_dataset, end_job, start_job
from tests.factories import Account, make_account

TTL = pytest.mark.usefixtures("_ttl")


def test_without_a_time_to_live_everything_stays(client: TestClient, account: Account) -> None:
    dataset_id = add_dataset(account.project_id, days=900)
    end_job(start_job(account.project_id, dataset_id), days=900)
    swept = sweep()
    assert (swept.jobs, swept.datasets) == ([], [])
    answer = client.get("/v1/retention").json()
    assert answer["job_ttl_days"] is None
    assert answer["jobs"] == {"count": 0, "size_bytes": 0, "ids": []}


@TTL
def test_jobs_that_ended_long_ago_go_with_their_files(client: TestClient, account: Account) -> None:
    dataset_id = add_dataset(account.project_id)
    leases = [start_job(account.project_id, dataset_id) for _ in range(3)]
    for lease in leases:
        add_checkpoint(lease, 10)
    old, young = end_job(leases[0], days=8), end_job(leases[1], days=6)

    assert sweep().jobs == [old]

    assert not get_path(job_key(old)).exists()
    assert client.get(f"/v1/jobs/{old}").status_code == 404
    for kept in (young, leases[2].job_id):
        assert get_path(job_key(kept)).exists()
        assert client.get(f"/v1/jobs/{kept}").status_code == 200


@TTL
def test_a_pinned_checkpoint_keeps_its_job(client: TestClient, account: Account) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id))
    checkpoint_id = add_checkpoint(lease, 10)
    job_id = end_job(lease, days=100)

    pinned = client.post(f"/v1/checkpoints/{checkpoint_id}/pin")
    assert (pinned.status_code, pinned.json()["pinned"]) == (200, True)
    assert sweep().jobs == []

    assert client.post(f"/v1/checkpoints/{checkpoint_id}/unpin").json()["pinned"] is False
    assert sweep().jobs == [job_id]


@TTL
def test_a_dataset_goes_when_it_is_old_and_its_last_job_too(
    client: TestClient, account: Account
) -> None:
    unused, used, needed, young = (
        add_dataset(account.project_id, days) for days in (31, 31, 31, 29)
    )
    end_job(start_job(account.project_id, used), days=5)
    start_job(account.project_id, needed)

    assert sweep().datasets == [unused]

    assert not get_path(dataset_key(unused)).exists()
    assert client.get(f"/v1/datasets/{unused}").status_code == 404
    for kept in (used, needed, young):
        assert client.get(f"/v1/datasets/{kept}").status_code == 200


@TTL
def test_the_dry_run_shows_this_project_alone_and_removes_nothing(
    client: TestClient, account: Account
) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id, days=40))
    add_checkpoint(lease, 10)
    job_id = end_job(lease, days=35)
    stranger = make_account()
    end_job(start_job(stranger.project_id, add_dataset(stranger.project_id)), days=35)

    answer = client.get("/v1/retention").json()

    assert (answer["job_ttl_days"], answer["dataset_ttl_days"]) == (7, 30)
    assert answer["jobs"] == {"count": 1, "size_bytes": 8, "ids": [job_id]}
    assert answer["datasets"]["count"] == 1
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
    assert len(sweep(dry_run=True).jobs) == 2
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200


def test_only_an_admin_sees_what_would_go(client: TestClient, account: Account) -> None:
    writer = make_account("write", project_id=account.project_id).headers
    assert client.get("/v1/retention", headers=writer).status_code == 403


def test_a_checkpoint_of_another_project_is_not_pinned(
    client: TestClient, account: Account
) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id))
    checkpoint_id = add_checkpoint(lease, 10)
    stranger = make_account().headers
    for action in ("pin", "unpin"):
        url = f"/v1/checkpoints/{checkpoint_id}/{action}"
        assert client.post(url, headers=stranger).status_code == 404
        reader = make_account("read", project_id=account.project_id).headers
        assert client.post(url, headers=reader).status_code == 403


def test_a_pinned_checkpoint_is_not_pruned(client: TestClient, account: Account) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id))
    pinned, _, newest = (add_checkpoint(lease, step) for step in (10, 20, 30))
    client.post(f"/v1/checkpoints/{pinned}/pin")
    with transaction() as session:
        prune(session, lease.job_id, keep_last=1, keep_best=1)
    listed = client.get(f"/v1/jobs/{lease.job_id}/checkpoints").json()["data"]
    assert [checkpoint["id"] for checkpoint in listed] == [newest, pinned]
