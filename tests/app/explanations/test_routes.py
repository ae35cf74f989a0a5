"""Listing explanations and downloading them; what the sweep and deletions make of them."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app import storage
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.clock import interval, now
from app.jobs.leases import Lease
from app.jobs.tables import Reason
from app.projects.tables import Project
from app.retention.sweep import sweep
from tests.factories import Account, claim_job, job_body, make_account, make_dataset

NAME = "integrated_gradients.json"
CONTENTS = {NAME: b'{"rows": []}\n', "integrated_gradients-1.png": b"\x89PNG"}
TYPES = {".json": "application/json", ".png": "image/png"}


@pytest.fixture
def lease(client: TestClient, account: Account) -> Lease:
    """A running job, and no file but that of its dataset."""
    shutil.rmtree(storage.get_root(), ignore_errors=True)
    dataset_id = make_dataset(account.project_id)
    folder = storage.get_path(storage.dataset_key(dataset_id))
    folder.mkdir(parents=True)
    (folder / "table.parquet").touch()
    assert client.post("/v1/jobs", json=job_body(dataset_id)).status_code == 201
    return claim_job()


def write_files(lease: Lease, attempt: int | None = None) -> Path:
    key = storage.attempt_key(lease.job_id, attempt or lease.attempt)
    folder = storage.get_path(key) / "explanations"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def describe(name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    media_type = TYPES[Path(name).suffix]
    return {"name": name, "media_type": media_type, "sha256": digest, "size_bytes": len(content)}


def succeed(lease: Lease) -> None:
    files = [describe(*item) for item in CONTENTS.items()]
    explanation = {"type": "integrated_gradients", "part": "test", "files": files}
    with transaction() as session:
        assert lifecycle.succeed(session, lease, {"test": {}, "explanations": [explanation]})


@pytest.fixture
def url(lease: Lease) -> str:
    """Of the explanations of a job that has succeeded."""
    write_files(lease)
    succeed(lease)
    return f"/v1/jobs/{lease.job_id}/explanations"


# ---------------------------------------------------------------- looking and downloading


def test_explanations_are_listed_once_the_job_has_succeeded(
    client: TestClient, lease: Lease
) -> None:
    url = client.get(f"/v1/jobs/{lease.job_id}").json()["links"]["explanations"]
    write_files(lease)
    assert client.get(url).json() == {"data": []}
    succeed(lease)
    listed = client.get(url).json()["data"]
    assert [each["name"] for each in listed] == list(CONTENTS)
    assert listed[0] == {
        **describe(NAME, CONTENTS[NAME]),
        "type": "integrated_gradients",
        "links": {"self": f"{url}/{NAME}"},
    }


def test_a_file_comes_with_its_digest_and_can_be_resumed(client: TestClient, url: str) -> None:
    for name, content in CONTENTS.items():
        answer = client.get(f"{url}/{name}")
        assert (answer.status_code, answer.content) == (200, content)
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        assert answer.headers["etag"] == tag
        assert answer.headers["content-type"] == TYPES[Path(name).suffix]
        assert f'filename="{name}"' in answer.headers["content-disposition"]
        rest = client.get(f"{url}/{name}", headers={"Range": "bytes=2-", "If-Range": tag})
        assert (rest.status_code, rest.content) == (206, content[2:])
        assert client.get(f"{url}/{name}", headers={"If-None-Match": tag}).status_code == 304


STRANGE = ("absent.json", "..%2Frequest.json", "%2Fetc%2Fpasswd", "%2E%2E", "%00", "é" * 300)


@pytest.mark.parametrize("name", [*STRANGE, NAME[:-1], NAME.upper()])
def test_a_name_that_is_not_listed_is_no_path(
    client: TestClient, lease: Lease, url: str, name: str
) -> None:
    key = storage.attempt_key(lease.job_id, lease.attempt)
    (storage.get_path(key) / "request.json").write_text("{}")
    assert client.get(f"{url}/{name}").status_code == 404


def test_foreign_explanations_answer_like_absent_ones(client: TestClient, url: str) -> None:
    stranger = make_account()
    absent = "/v1/jobs/job_" + "0" * 32 + "/explanations"
    for tail in ("", f"/{NAME}"):
        answers = [client.get(each + tail, headers=stranger.headers) for each in (url, absent)]
        bodies = [answer.json() for answer in answers]
        assert all(body.pop("request_id") for body in bodies)
        assert bodies[0] == bodies[1]
        assert bodies[0]["detail"] == "No such job."
        assert client.get(url + tail, headers={"Authorization": "Bearer x"}).status_code == 401


def test_a_file_that_is_gone_is_not_found(client: TestClient, lease: Lease, url: str) -> None:
    folder = storage.get_path(storage.attempt_key(lease.job_id, lease.attempt)) / "explanations"
    (folder / NAME).unlink()
    assert client.get(f"{url}/{NAME}").status_code == 404


# ---------------------------------------------------------------- what stays and what goes


def make_old(project_id: str) -> None:
    """All files are, and the project is older."""
    for path in storage.get_root().rglob("*"):
        os.utime(path, (time.time() - 7200,) * 2)
    with transaction() as session:
        values = {"created_at": now() - interval(86_400)}
        session.execute(update(Project).where(Project.id == project_id).values(values))


def test_a_deleted_job_takes_its_explanations_along(
    client: TestClient, lease: Lease, url: str
) -> None:
    assert client.delete(f"/v1/jobs/{lease.job_id}").status_code == 204
    assert not storage.get_path(storage.job_key(lease.job_id)).exists()
    assert client.get(f"{url}/{NAME}").status_code == 404


def test_the_sweep_keeps_those_of_the_last_attempt_alone(lease: Lease, account: Account) -> None:
    earlier, kept = write_files(lease, attempt=7), write_files(lease)
    make_old(account.project_id)
    assert sweep().orphans == []  # the job may take over what an earlier attempt has made
    succeed(lease)
    make_old(account.project_id)
    assert sweep().orphans == [str(earlier.relative_to(storage.get_root()))]
    assert sorted(path.name for path in kept.iterdir()) == sorted(CONTENTS)


def test_explanations_of_a_job_that_failed_are_swept(lease: Lease, account: Account) -> None:
    folder = write_files(lease)
    with transaction() as session:
        lifecycle.fail(session, lease, Reason.TIMEOUT, {"message": "late"}, retry=False)
    make_old(account.project_id)
    assert sweep().orphans == [str(folder.relative_to(storage.get_root()))]


def test_damaged_explanations_are_named(lease: Lease, url: str) -> None:
    folder = storage.get_path(storage.attempt_key(lease.job_id, lease.attempt)) / "explanations"
    assert sweep(verify=True).missing == []
    (folder / NAME).write_bytes(CONTENTS[NAME].replace(b"[", b"("))
    assert sweep().missing == []
    assert sweep(verify=True).missing == [lease.job_id]
    (folder / NAME).unlink()
    assert sweep().missing == [lease.job_id]


def test_a_retry_has_no_explanations_of_its_own_yet(
    client: TestClient, lease: Lease, url: str
) -> None:
    new = client.post(f"/v1/jobs/{lease.job_id}/retry").json()["id"]
    assert client.get(f"/v1/jobs/{new}/explanations").json() == {"data": []}
    assert json.loads(client.get(f"{url}/{NAME}").content) == {"rows": []}
