"""Looking at checkpoints and downloading them."""

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db import transaction
from app.jobs import lifecycle
from app.jobs.leases import Lease
from tests.app.checkpoints.files import TEXTS, list_checkpoint, write_checkpoint
from tests.factories import make_account

EVALUATION = {"checkpoint_step": 10, "test": {"accuracy": 0.9}}


@pytest.fixture
def folder(lease: Lease) -> Path:
    return write_checkpoint(lease)


@pytest.fixture
def url(lease: Lease, folder: Path) -> str:
    return f"/v1/checkpoints/{list_checkpoint(lease)}"


def unpack(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def succeed(lease: Lease, evaluation: dict[str, Any]) -> None:
    with transaction() as session:
        assert lifecycle.succeed(session, lease, evaluation)


# ---------------------------------------------------------------- looking


def test_a_checkpoint_tells_where_it_was_taken_and_what_it_holds(
    client: TestClient, lease: Lease, url: str
) -> None:
    checkpoint = client.get(url).json()
    assert (checkpoint["job_id"], checkpoint["step"]) == (lease.job_id, 10)
    assert checkpoint["best"]
    assert checkpoint["metrics"] == {"loss": 0.5}
    assert set(checkpoint["files"]) == {"model.safetensors", "state.safetensors"}
    assert checkpoint["links"]["download"] == f"{url}/download"


def test_the_checkpoints_of_a_job_are_listed_newest_first(client: TestClient, lease: Lease) -> None:
    for step in (1, 2, 3):
        list_checkpoint(lease, step, files={})
    path = f"/v1/jobs/{lease.job_id}/checkpoints"
    page = client.get(path, params={"limit": 2}).json()
    assert [row["step"] for row in page["data"]] == [3, 2]
    page = client.get(path, params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [row["step"] for row in page["data"]] == [1]


def test_a_foreign_checkpoint_answers_like_an_absent_one(client: TestClient, url: str) -> None:
    stranger = make_account()
    absent = "/v1/checkpoints/ckpt_" + "0" * 32
    for tail in ("", "/download", "/download?format=safetensors"):
        answers = [
            client.get(base + tail, headers=stranger.headers).json() for base in (url, absent)
        ]
        for answer in answers:
            assert answer.pop("request_id")
        assert answers[0] == answers[1]
        assert answers[0]["status"] == 404


# ---------------------------------------------------------------- the bundle


def test_a_bundle_holds_all_that_predicting_takes_and_a_manifest_of_it(
    client: TestClient, lease: Lease, url: str
) -> None:
    succeed(lease, EVALUATION)
    files = unpack(client.get(f"{url}/download").content)
    manifest = json.loads(files.pop("manifest.json"))
    assert set(files) == {*TEXTS, "model.safetensors", "evaluation.json"}
    assert json.loads(files["evaluation.json"]) == EVALUATION
    assert manifest == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in files.items()
    }


def test_before_the_end_the_evaluation_is_what_validation_said(
    client: TestClient, lease: Lease, url: str
) -> None:
    files = unpack(client.get(f"{url}/download").content)
    validated = {"checkpoint_step": 10, "validation": {"loss": 0.5}}
    assert json.loads(files["evaluation.json"]) == validated
    succeed(lease, EVALUATION | {"checkpoint_step": 9})
    assert json.loads(unpack(client.get(f"{url}/download").content)["evaluation.json"]) == validated


def test_the_evaluation_that_comes_later_makes_another_bundle(
    client: TestClient, lease: Lease, url: str
) -> None:
    before = client.get(f"{url}/download")
    succeed(lease, EVALUATION)
    after = client.get(f"{url}/download", headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert json.loads(unpack(after.content)["evaluation.json"]) == EVALUATION


def test_a_bundle_is_the_same_bytes_every_time_it_is_built(
    client: TestClient, folder: Path, url: str
) -> None:
    first = client.get(f"{url}/download")
    shutil.rmtree(folder.parent / "downloads")
    again = client.get(f"{url}/download")
    assert again.content == first.content
    assert again.headers["etag"] == f'"{hashlib.sha256(first.content).hexdigest()}"'


def test_a_download_has_a_name_and_can_be_resumed(client: TestClient, url: str) -> None:
    whole = client.get(f"{url}/download")
    assert 'filename="flowers-co-10.zip"' in whole.headers["content-disposition"]
    assert whole.headers["content-type"] == "application/zip"
    tag = whole.headers["etag"]
    rest = client.get(f"{url}/download", headers={"Range": "bytes=100-", "If-Range": tag})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    head = client.head(f"{url}/download")
    assert (head.status_code, head.headers["etag"]) == (200, tag)
    assert client.get(f"{url}/download", headers={"If-None-Match": tag}).status_code == 304


def test_the_weights_alone_can_be_downloaded(client: TestClient, folder: Path, url: str) -> None:
    response = client.get(f"{url}/download", params={"format": "safetensors"})
    assert response.content == (folder / "model.safetensors").read_bytes()
    assert 'filename="flowers-co-10.safetensors"' in response.headers["content-disposition"]
    assert client.get(f"{url}/download", params={"format": "onnx"}).status_code == 422


# ---------------------------------------------------------------- damage and deletion


@pytest.mark.parametrize("format", ["bundle", "safetensors"])
def test_damaged_weights_are_never_sent(
    client: TestClient, folder: Path, url: str, format: str
) -> None:
    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[100] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    response = client.get(f"{url}/download", params={"format": format})
    assert response.status_code == 500
    assert response.json()["type"].endswith("/checkpoint-corrupt")
    assert list((folder.parent / "downloads").iterdir()) == []


def test_a_checkpoint_without_its_bundle_folder_is_called_damaged(
    client: TestClient, folder: Path, url: str
) -> None:
    shutil.rmtree(folder.parent / "bundle")
    assert client.get(f"{url}/download").json()["type"].endswith("/checkpoint-corrupt")


def test_a_checkpoint_whose_folder_is_gone_is_not_found(
    client: TestClient, folder: Path, url: str
) -> None:
    """Its row was read just before it was pruned."""
    assert client.get(f"{url}/download").status_code == 200
    shutil.rmtree(folder)
    for format in ("bundle", "safetensors"):
        response = client.get(f"{url}/download", params={"format": format})
        assert response.status_code == 404


def test_what_was_made_from_pruned_checkpoints_is_removed(
    client: TestClient, lease: Lease, folder: Path, url: str
) -> None:
    client.get(f"{url}/download")
    shutil.rmtree(folder)
    write_checkpoint(lease, 20)
    client.get(f"/v1/checkpoints/{list_checkpoint(lease, 20)}/download")
    kept = [path.name for path in (folder.parent / "downloads").iterdir()]
    assert len(kept) == 1
    assert kept[0].startswith("s20-")
