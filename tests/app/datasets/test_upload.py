"""What an upload stores, what it refuses, and that it leaves nothing behind."""

import base64
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select

from app import storage
from app.config import get_settings
from app.datasets import service, upload
from app.datasets.tables import Dataset
from app.db import transaction
from tests.factories import make_account

CSV = b"x,label\n1,a\n2,b\n"


@pytest.fixture(autouse=True)
def _no_files(stack: Path) -> None:
    shutil.rmtree(storage.get_root(), ignore_errors=True)


def send(
    client: TestClient, content: bytes = CSV, filename: str = "t.csv", **fields: str
) -> Response:
    return client.post("/v1/datasets", files={"file": (filename, content)}, data=fields)


def list_files() -> list[str]:
    root = storage.get_root()
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def assert_nothing_is_left() -> None:
    assert list_files() == []
    with transaction() as session:
        assert session.scalars(select(Dataset)).all() == []


def problem_of(response: Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"]).rpartition("/")[2]


# ---------------------------------------------------------------- what is stored


def test_an_upload_is_stored_with_its_digest_and_its_schema(client: TestClient) -> None:
    response = send(client, filename="my table.csv", name="Mine")
    assert response.status_code == 201
    dataset = response.json()
    assert response.headers["location"] == f"/v1/datasets/{dataset['id']}"
    assert (dataset["name"], dataset["filename"], dataset["format"]) == (
        "Mine",
        "my table.csv",
        "csv",
    )
    assert dataset["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert (dataset["size_bytes"], dataset["rows"]) == (len(CSV), 2)
    assert [(c["name"], c["kind"]) for c in dataset["columns"]] == [
        ("x", "number"),
        ("label", "category"),
    ]
    folder = f"datasets/{dataset['id']}"
    assert list_files() == [f"{folder}/{name}" for name in sorted(service.FILES)]


def test_the_name_defaults_to_that_of_the_file(client: TestClient) -> None:
    assert send(client, filename="iris.csv").json()["name"] == "iris"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\x.csv", "x.csv"),
        ("-rf.csv", "-rf.csv"),
        ("é.csv", "é.csv"),
        ("..", "dataset"),
        ("x" * 300 + ".csv", "x" * 251 + ".csv"),
    ],
)
def test_a_file_name_is_only_ever_a_name(client: TestClient, sent: str, kept: str) -> None:
    response = send(client, filename=sent, name="t")
    assert response.status_code == 201
    assert response.json()["filename"] == kept


def test_fields_may_come_after_the_file(client: TestClient) -> None:
    body = multipart(part("file", CSV, "t.bin"), part("name", b"late"), part("format", b"csv"))
    response = client.post("/v1/datasets", content=body, headers=FORM)
    assert response.status_code == 201
    assert response.json()["name"] == "late"


def test_boundaries_inside_the_file_do_not_end_it(client: TestClient) -> None:
    tricky = b'x,t\r\n1,"\r\n--XBX"\r\n2,"\r\n--X"\r\n'
    body = multipart(part("file", tricky, "t.csv"))
    response = client.post("/v1/datasets", content=body, headers=FORM)
    assert response.json()["sha256"] == hashlib.sha256(tricky).hexdigest()


# ---------------------------------------------------------------- digests


def digest_of(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@pytest.mark.parametrize("header", ["Repr-Digest", "Content-Digest"])
def test_the_digest_of_the_file_or_of_the_body_is_checked(client: TestClient, header: str) -> None:
    body = multipart(part("file", CSV, "t.csv"))
    for good in (CSV, body):
        headers = {**FORM, header: digest_of(good)}
        assert client.post("/v1/datasets", content=body, headers=headers).status_code == 201
    response = client.post(
        "/v1/datasets", content=body, headers={**FORM, header: digest_of(b"other")}
    )
    assert (response.status_code, problem_of(response)) == (400, "digest-mismatch")


def test_the_field_sha256_is_checked(client: TestClient) -> None:
    assert send(client, sha256=hashlib.sha256(CSV).hexdigest()).status_code == 201
    assert problem_of(send(client, sha256="0" * 64)) == "digest-mismatch"


# ---------------------------------------------------------------- what is refused


def test_bad_rows_are_listed_by_line(client: TestClient) -> None:
    response = send(client, b"x,label\n1,a\n2,b,c\n3,a\noops,b\n5,a\n")
    assert (response.status_code, problem_of(response)) == (422, "dataset-invalid")
    assert [error["loc"] for error in response.json()["errors"]] == [["file", 3], ["file", 5, "x"]]
    assert_nothing_is_left()


def test_a_hundred_bad_rows_fit_into_one_answer(client: TestClient) -> None:
    response = send(client, b"x,label\n" + b"1,a\n" * 200 + b"2,b,c\n" * 150)
    assert "150 problems" in response.json()["detail"]
    assert len(response.content) < 8192
    assert len(response.json()["errors"]) >= 80
    assert_nothing_is_left()


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"format": "xml"}, ["format"]),
        ({"name": "a\nb"}, ["name"]),
        ({"name": " "}, ["name"]),
        ({"name": "x" * 201}, ["name"]),
        ({"nmae": "x"}, ["nmae"]),
    ],
)
def test_a_bad_field_is_named(client: TestClient, fields: dict[str, str], loc: list[str]) -> None:
    response = send(client, **fields)
    assert (response.status_code, problem_of(response)) == (422, "validation-error")
    assert [error["loc"] for error in response.json()["errors"]] == [loc]
    assert_nothing_is_left()


FORM = {"Content-Type": "multipart/form-data; boundary=XB"}


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = f'; filename="{filename}"' if filename else ""
    head = f'--XB\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def multipart(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XB--\r\n"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (multipart(part("name", b"x")), 422, "validation-error"),
        (multipart(part("file", CSV, "a"), part("file", CSV, "b")), 422, "validation-error"),
        (multipart(part("file", CSV, "a"))[:-8], 400, "malformed-body"),
        (b"", 400, "malformed-body"),
        (b"garbage" * 100, 400, "malformed-body"),
        (multipart(part("file", CSV, "a"), part("name", b"x" * 2_000_000)), 400, "malformed-body"),
        (multipart(*[part(f"f{i}", b"") for i in range(100)]), 400, "malformed-body"),
        (b"--XB\r\n" + b"X-A: y\r\n" * 2000 + part("file", CSV, "a")[6:], 400, "malformed-body"),
        (b"--XB\r\nContent-Type: text/csv\r\n\r\nhi\r\n--XB--\r\n", 400, "malformed-body"),
    ],
)
def test_a_malformed_form_is_refused(
    client: TestClient, body: bytes, status: int, kind: str
) -> None:
    response = client.post("/v1/datasets", content=body, headers=FORM)
    assert (response.status_code, problem_of(response)) == (status, kind)
    assert_nothing_is_left()


def test_only_multipart_is_accepted(client: TestClient) -> None:
    response = client.post("/v1/datasets", content=CSV, headers={"Content-Type": "text/csv"})
    assert (response.status_code, problem_of(response)) == (415, "unsupported-media-type")


def limit_uploads(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    smaller = get_settings().model_copy(update={"max_upload_bytes": size})
    monkeypatch.setattr(upload, "get_settings", lambda: smaller)


def test_a_file_over_the_limit_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_uploads(monkeypatch, 1000)
    response = send(client, CSV + b"3,c\n" * 1000)
    assert (response.status_code, problem_of(response)) == (413, "payload-too-large")
    assert_nothing_is_left()


def test_a_full_disk_is_a_507(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(upload.shutil, "disk_usage", lambda _: usage)
    response = send(client)
    assert (response.status_code, problem_of(response)) == (507, "insufficient-storage")
    assert_nothing_is_left()


def test_a_key_is_looked_at_before_the_body(client: TestClient) -> None:
    reader = make_account("read")
    for headers, status in (({"Authorization": ""}, 401), (reader.headers, 403)):
        response = client.post("/v1/datasets", content=b"x" * 5000, headers={**FORM, **headers})
        assert response.status_code == status
    assert_nothing_is_left()


def test_a_row_that_cannot_be_written_leaves_no_file(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the database refused")

    monkeypatch.setattr(service, "Dataset", fail)
    assert send(client).status_code == 500
    monkeypatch.undo()
    assert_nothing_is_left()


# ---------------------------------------------------------------- folders


def test_the_folder_of_a_killed_upload_is_swept_and_a_live_one_is_not(client: TestClient) -> None:
    dead = storage.get_path("uploads") / "ds_dead"
    dead.mkdir(parents=True)
    (dead / "original").write_bytes(b"x")
    with upload.open_folder("ds_live") as live:
        (live / "original").write_bytes(b"x")
        assert send(client).status_code == 201
        assert not dead.exists()
        assert live.exists()
    assert not live.exists()
