"""Pictures from an archive of files to a bundle that reads files."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from client import ApiError
from tests.e2e.conftest import Stack

EXAMPLES = Path(__file__).parents[2] / "examples"


def make_archive(path: Path, count: int, seed: int) -> Path:
    script = EXAMPLES / "make_shapes.py"
    options = ["--count", str(count), "--seed", str(seed)]
    subprocess.run([sys.executable, str(script), str(path), *options], check=True)
    return path


def test_an_archive_of_pictures_becomes_a_model_that_reads_pictures(stack: Stack, tmp_path: Path):
    client = stack.client
    test = make_archive(tmp_path / "test.zip", 40, seed=1)
    dataset = client.datasets.upload(make_archive(tmp_path / "train.zip", 200, seed=0))
    assert {c["name"]: c["kind"] for c in dataset["columns"]} == {
        "image": "image",
        "label": "category",
    }
    spec = json.loads((EXAMPLES / "cnn_image.json").read_text())
    spec["dataset"] |= {"id": dataset["id"], "test_id": client.datasets.upload(test)["id"]}
    spec["dataset"] |= {"image": None, "inputs": None, "split": {}}
    spec["training"] |= {"epochs": 4}

    job = client.jobs.wait(client.jobs.create(spec)["id"], timeout=120)

    assert job["status"] == "succeeded", job
    assert job["spec"]["dataset"]["image"] == {"height": 32, "width": 32, "channels": 3}
    best = next(each for each in client.checkpoints.list(job["id"]) if each["best"])
    client.checkpoints.download(best["id"], tmp_path / "bundle.zip")
    files = unpack(test, tmp_path / "test")
    answers = predict_with_bundle(tmp_path / "bundle.zip", files, tmp_path / "bundle")
    right = sum(answer == file.parent.name for answer, file in zip(answers, files, strict=True))
    measured = client.jobs.evaluation(job["id"])["test"]["accuracy"]
    assert right / len(files) == pytest.approx(measured)


def unpack(archive: Path, folder: Path) -> list[Path]:
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return sorted(folder.glob("*/*.png"))


def predict_with_bundle(bundle: Path, files: list[Path], folder: Path) -> list[str]:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    command = [sys.executable, "-I", str(folder / "predict.py"), *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
    return done.stdout.splitlines()


def test_a_model_that_reads_no_pictures_is_refused_with_the_fix(stack: Stack, tmp_path: Path):
    dataset = stack.client.datasets.upload(make_archive(tmp_path / "few.zip", 20, seed=0))
    spec = {
        "name": "pictures",
        "model": {"type": "logistic"},
        "dataset": {"id": dataset["id"], "target": "label"},
    }
    with pytest.raises(ApiError) as caught:
        stack.client.jobs.create(spec)
    assert caught.value.status == 422
    assert "use mlp or cnn" in caught.value.errors[0]["message"]
