"""Uploads of pictures and arrays through the API, and the files that they leave."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from PIL import Image

from app import storage
from app.config import get_settings
from app.retention.missing import find_missing
from tests.app.datasets.archives import make_npz, make_picture, make_zip
from tests.factories import job_body

FILES = {f"{label}/{i}.png": make_picture((i, 0, 0)) for label in ("cat", "dog") for i in range(3)}


@pytest.fixture(autouse=True)
def _no_files(stack: Path) -> None:
    shutil.rmtree(storage.get_root(), ignore_errors=True)


def send(client: TestClient, content: bytes, filename: str = "pets.zip") -> Response:
    return client.post("/v1/datasets", files={"file": (filename, content)})


def upload(client: TestClient, content: bytes, filename: str = "pets.zip") -> dict[str, Any]:
    response = send(client, content, filename)
    assert response.status_code == 201, response.text
    return dict(response.json())


def list_files() -> list[str]:
    root = storage.get_root()
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_pictures_are_stored_beside_their_table(client: TestClient) -> None:
    dataset = upload(client, make_zip(FILES))
    assert dataset["format"] == "images"
    image, label = dataset["columns"]
    assert image["image"]["channels"] == 3
    assert (label["kind"], label["image"]) == ("category", None)
    assert list_files() == ["original", "pixels.bin", "preview.jsonl", "table.parquet"]
    preview = client.get(f"/v1/datasets/{dataset['id']}/preview").json()
    picture = {"name": "cat/0.png", "height": 2, "width": 3, "channels": 3}
    assert preview["rows"][0] == [picture, "cat"]


def test_a_picture_can_be_looked_at(client: TestClient) -> None:
    table = b"left,y,right\ncat/1.png,1,dog/2.png\n,2,grey.png\n"
    grey = make_picture(9, (4, 5), "L")
    dataset = upload(client, make_zip({**FILES, "grey.png": grey, "t.csv": table}))
    path = f"/v1/datasets/{dataset['id']}/images"
    response = client.get(f"{path}/1")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    image = Image.open(io.BytesIO(response.content))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), (1, 0, 0))
    right = Image.open(io.BytesIO(client.get(f"{path}/2?column=right").content))
    assert (right.mode, right.size, right.getpixel((0, 0))) == ("L", (4, 5), 9)
    for absent in ("2", "3", "1?column=y", "1?column=z"):
        assert client.get(f"{path}/{absent}").status_code == 404
    assert client.get(f"{path}/0").status_code == 422


def test_a_deleted_dataset_leaves_no_pixels(client: TestClient) -> None:
    dataset = upload(client, make_zip(FILES))
    assert client.delete(f"/v1/datasets/{dataset['id']}").status_code == 204
    assert list_files() == []


def test_pixels_that_are_gone_are_missed(client: TestClient) -> None:
    dataset = upload(client, make_zip(FILES))
    assert dataset["id"] not in find_missing(verify=False)
    (storage.get_path(storage.dataset_key(dataset["id"])) / "pixels.bin").unlink()
    assert dataset["id"] in find_missing(verify=False)


def test_arrays_without_pictures_have_no_pixels(client: TestClient) -> None:
    dataset = upload(client, make_npz(s=np.zeros((4, 5)), y=np.arange(4) % 2), "a.npz")
    assert dataset["columns"][0]["sequence"] == {"width": 1, "steps_min": 5, "steps_max": 5}
    assert "pixels.bin" not in list_files()


def test_bad_pictures_are_named_and_nothing_is_left(client: TestClient) -> None:
    response = send(client, make_zip({**FILES, "dog/bad.png": b"?"}))
    assert response.status_code == 422
    problem = response.json()
    assert problem["type"].endswith("/dataset-invalid")
    assert [error["loc"] for error in problem["errors"]] == [["file", "dog/bad.png"]]
    assert list_files() == []


def test_an_unsafe_archive_is_refused_as_such(client: TestClient) -> None:
    response = send(client, make_zip({**FILES, "dog/../../evil.png": b"?"}))
    assert response.status_code == 422
    assert response.json()["type"].endswith("/archive-unsafe")
    assert list_files() == []


def test_the_limit_of_files_reaches_the_reader(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSMITH_MAX_ARCHIVE_FILES", "5")
    get_settings.cache_clear()
    try:
        response = send(client, make_zip(FILES))
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert response.json()["type"].endswith("/archive-unsafe")
    assert "more than 5 files" in response.json()["detail"]


def test_a_model_of_tables_refuses_pictures_with_the_reason(client: TestClient) -> None:
    dataset = upload(client, make_zip(FILES))
    body = job_body(dataset["id"], dataset={"target": "label"})
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["loc"] == ["dataset", "inputs"]
    assert "image" in error["message"]
