"""Validators, ranges and digests, on the content of a dataset."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from app import problems
from app.downloads import send_file

CONTENT = bytes(range(256)) * 8192  # 2 MiB, so more than one piece
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TAG = f'"{SHA256}"'


@pytest.fixture
def files(tmp_path: Path) -> Iterator[TestClient]:
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT)
    app = FastAPI()
    problems.install(app)

    @app.api_route("/file", methods=["GET", "HEAD"])
    def get_file(request: Request, unlink: bool = False) -> Response:
        file = path.open("rb")
        if unlink:
            path.unlink()
        return send_file(request, file, sha256=SHA256, filename="model.bin")

    with TestClient(app) as client:
        yield client


def test_a_file_comes_with_its_digest_as_entity_tag(files: TestClient) -> None:
    response = files.get("/file")
    assert response.content == CONTENT
    assert response.headers["etag"] == TAG
    digest = base64.b64encode(bytes.fromhex(SHA256)).decode()
    assert response.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["content-disposition"] == 'attachment; filename="model.bin"'
    assert "private" in response.headers["cache-control"]


def test_head_tells_the_same_without_the_body(files: TestClient) -> None:
    head, get = files.head("/file"), files.get("/file")
    assert head.content == b""
    assert head.headers == get.headers


@pytest.mark.parametrize("value", [TAG, f"W/{TAG}", "*", f'"other", {TAG}'])
def test_what_the_client_has_is_not_sent_again(files: TestClient, value: str) -> None:
    response = files.get("/file", headers={"If-None-Match": value})
    assert (response.status_code, response.content) == (304, b"")
    assert response.headers["etag"] == TAG


def test_another_tag_is_no_match(files: TestClient) -> None:
    assert files.get("/file", headers={"If-None-Match": '"other"'}).status_code == 200
    assert files.get("/file", headers={"If-Match": TAG}).status_code == 200
    assert files.get("/file", headers={"If-Match": '"other"'}).status_code == 412


@pytest.mark.parametrize(
    ("value", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        ("bytes=1048570-1048590", 1048570, 1048591),
        ("bytes=10-99999999999999999999999999", 10, len(CONTENT)),
        ("bytes=-99999999999", 0, len(CONTENT)),
    ],
)
def test_a_range_is_cut_out(files: TestClient, value: str, start: int, stop: int) -> None:
    response = files.get("/file", headers={"Range": value})
    assert response.status_code == 206
    assert response.content == CONTENT[start:stop]
    assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CONTENT)}"
    assert response.headers["etag"] == TAG


@pytest.mark.parametrize(
    "value",
    [
        "items=0-1",
        "bytes=",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=0-0,2-2",
        "bytes=" + "0-," * 5000 + "0-",
    ],
)
def test_ranges_that_mean_nothing_are_ignored(files: TestClient, value: str) -> None:
    response = files.get("/file", headers={"Range": value})
    assert (response.status_code, len(response.content)) == (200, len(CONTENT))


@pytest.mark.parametrize("value", [f"bytes={len(CONTENT)}-", "bytes=99999999-", "bytes=-0"])
def test_a_range_beyond_the_end_is_a_416_that_tells_the_size(files: TestClient, value: str) -> None:
    response = files.get("/file", headers={"Range": value})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"
    assert response.json()["type"].endswith("/range-not-satisfiable")


def test_a_part_is_only_sent_of_the_file_that_was_begun(files: TestClient) -> None:
    same = files.get("/file", headers={"Range": "bytes=5-", "If-Range": TAG})
    assert same.status_code == 206
    other = files.get("/file", headers={"Range": "bytes=99999999-", "If-Range": '"other"'})
    assert (other.status_code, other.content) == (200, CONTENT)


def test_a_file_that_is_unlinked_is_sent_to_its_end(files: TestClient) -> None:
    assert files.get("/file", params={"unlink": True}).content == CONTENT
