"""One job, end to end, on real parts."""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e import jobs
from tests.e2e.conftest import Stack, wait_until

PREDICT = """
import csv, json, sys
sys.path.insert(0, sys.argv[1])
import predict
rows = list(csv.DictReader(open(sys.argv[2])))
print(json.dumps(predict.load(sys.argv[1]).predict(rows)))
"""


def predict_with_bundle(bundle: Path, rows: Path, folder: Path) -> list[str]:
    """Unpack the bundle and let its own code read the raw rows, with nothing of ours in reach."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    script = folder / "use.py"
    script.write_text(PREDICT)
    command = [sys.executable, "-I", str(script), str(folder), str(rows)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, cwd="/").stdout)


def test_a_job_goes_from_post_to_a_bundle_that_agrees_with_the_service(stack: Stack, tmp_path):
    header, rows = jobs.read_breast_cancer()
    train = jobs.write_csv(tmp_path / "train.csv", header, rows[:450])
    test = jobs.write_csv(tmp_path / "test.csv", header, rows[450:])
    client = stack.client
    train_id = client.datasets.upload(train)["id"]
    test_id = client.datasets.upload(test)["id"]
    spec = jobs.make_spec(
        train_id,
        "diagnosis",
        model={"type": "logistic"},
        dataset={"test_id": test_id},
        training={"epochs": 20, "optimizer": {"type": "adam", "lr": 0.01}},
    )
    spec["model"] = {"type": "logistic"}

    job_id = client.jobs.create(spec)["id"]
    events = list(client.jobs.stream(job_id))

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    phases = [e["data"]["phase"] for e in events if e["type"] == "state" and e["data"]["phase"]]
    assert phases == ["preparing", "training", "evaluating", "exporting"]
    assert events[-1]["data"]["status"] == "succeeded"

    job = client.jobs.get(job_id)
    assert job["status"] == "succeeded"
    series = {s["name"]: s["points"] for s in client.jobs.metrics(job_id)}
    steps = [step for step, _ in series["train/loss"]]
    total = job["progress"]["total_steps"]
    assert steps == [*range(10, total, 10), total]
    assert len(series["validation/loss"]) == 20
    streamed = [p for e in events if e["type"] == "metric" for p in e["data"]["points"]]
    assert sorted(streamed) == sorted([n, s, v] for n, ps in series.items() for s, v in ps)

    best = next(c for c in client.checkpoints.list(job_id) if c["best"])
    bundle = tmp_path / "bundle.zip"
    client.checkpoints.download(best["id"], bundle)
    predictions = predict_with_bundle(bundle, test, tmp_path / "bundle")
    truth = [row["diagnosis"] for row in csv.DictReader(test.open())]
    accuracy = sum(p == t for p, t in zip(predictions, truth, strict=True)) / len(truth)
    measured = client.jobs.evaluation(job_id)["test"]["accuracy"]
    assert accuracy == pytest.approx(measured, abs=1e-9)
    assert measured > 0.9


def test_the_same_spec_data_and_seed_give_the_same_bytes(stack: Stack, tmp_path):
    header, rows = jobs.read_digits()
    dataset = stack.client.datasets.upload(jobs.write_csv(tmp_path / "d.csv", header, rows[:600]))
    spec = jobs.make_spec(dataset["id"], "digit", training={"epochs": 5})

    contents = []
    for _ in range(2):
        job = stack.client.jobs.wait(stack.client.jobs.create(spec)["id"], timeout=120)
        assert job["status"] == "succeeded", job
        checkpoint = next(iter(stack.client.checkpoints.list(job["id"])))
        path = tmp_path / checkpoint["id"]
        stack.client.checkpoints.download(checkpoint["id"], path, format="safetensors")
        contents.append(path.read_bytes())

    assert contents[0] == contents[1]


def test_a_cancelled_job_stops_and_keeps_its_last_checkpoint(stack: Stack, tmp_path):
    header, rows = jobs.read_digits()
    dataset = stack.client.datasets.upload(jobs.write_csv(tmp_path / "d.csv", header, rows))
    spec = jobs.make_spec(dataset["id"], "digit", training={"epochs": 100_000})
    job_id = stack.client.jobs.create(spec)["id"]
    wait_until(lambda: stack.client.jobs.get(job_id)["progress"]["step"] > 0, "it trains")

    stack.client.jobs.cancel(job_id)
    job = stack.client.jobs.wait(job_id, timeout=60)

    assert job["status"] == "cancelled"
    newest = next(iter(stack.client.checkpoints.list(job_id)))
    assert newest["step"] == job["progress"]["step"]


def test_a_paused_job_goes_on_where_it_stopped(stack: Stack, tmp_path):
    header, rows = jobs.read_digits()
    dataset = stack.client.datasets.upload(jobs.write_csv(tmp_path / "d.csv", header, rows))
    spec = jobs.make_spec(dataset["id"], "digit", training={"epochs": 40})
    job_id = stack.client.jobs.create(spec)["id"]
    wait_until(lambda: stack.client.jobs.get(job_id)["progress"]["step"] > 0, "it trains")

    stack.client.jobs.pause(job_id)
    wait_until(lambda: stack.client.jobs.get(job_id)["status"] == "paused", "it is paused")
    paused_at = stack.client.jobs.get(job_id)["progress"]["step"]
    stack.client.jobs.resume(job_id)
    job = stack.client.jobs.wait(job_id, timeout=120)

    assert job["status"] == "succeeded"
    resumed = [e for e in stack.client.jobs.stream(job_id) if e["type"] == "resumed"]
    assert [e["data"]["step"] for e in resumed] == [paused_at]
    assert_metrics_have_no_gap(stack, job)


def assert_metrics_have_no_gap(stack: Stack, job) -> None:
    series = {s["name"]: s["points"] for s in stack.client.jobs.metrics(job["id"], points=10_000)}
    total = job["progress"]["total_steps"]
    expected = list(range(10, total + 1, 10))
    expected += [] if expected[-1:] == [total] else [total]
    assert [step for step, _ in series["train/loss"]] == expected
