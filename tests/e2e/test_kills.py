"""Whatever is killed, whenever: the job ends, no point is missing, the weights are the same."""

import signal

import psutil
import pytest

from tests.e2e import jobs
from tests.e2e.conftest import Stack, wait_until
from tests.e2e.test_spine import assert_metrics_have_no_gap

SPEC = {"training": {"epochs": 120}, "checkpoints": {"every_seconds": 0.3}}


@pytest.fixture(scope="module")
def dataset_id(stack: Stack, tmp_path_factory) -> str:
    header, rows = jobs.read_digits()
    path = jobs.write_csv(tmp_path_factory.mktemp("data") / "digits.csv", header, rows)
    return stack.client.datasets.upload(path)["id"]


def run_job(stack: Stack, dataset_id: str):
    return stack.client.jobs.create(jobs.make_spec(dataset_id, "digit", **SPEC))["id"]


def read_weights(stack: Stack, job_id: str, folder) -> bytes:
    newest = next(iter(stack.client.checkpoints.list(job_id)))
    path = folder / f"{newest['id']}.safetensors"
    stack.client.checkpoints.download(newest["id"], path, format="safetensors")
    return path.read_bytes()


@pytest.fixture(scope="module")
def calm_weights(stack: Stack, dataset_id: str, tmp_path_factory) -> bytes:
    job = stack.client.jobs.wait(run_job(stack, dataset_id), timeout=120)
    assert job["status"] == "succeeded", job
    return read_weights(stack, job["id"], tmp_path_factory.mktemp("calm"))


def wait_for_a_checkpoint(stack: Stack, job_id: str) -> None:
    wait_until(lambda: any(stack.client.checkpoints.list(job_id)), "it has a checkpoint")


def assert_it_ended_well(stack: Stack, job_id: str, calm_weights: bytes, folder):
    job = stack.client.jobs.wait(job_id, timeout=180)
    assert job["status"] == "succeeded", job
    assert_metrics_have_no_gap(stack, job)
    assert read_weights(stack, job_id, folder) == calm_weights
    return job


def test_a_killed_training_process_is_resumed(stack, dataset_id, calm_weights, tmp_path):
    job_id = run_job(stack, dataset_id)
    wait_for_a_checkpoint(stack, job_id)

    stack.find_trainer().kill()

    job = assert_it_ended_well(stack, job_id, calm_weights, tmp_path)
    assert (job["attempt"], job["failures"], job["losses"]) == (2, 1, 0)


@pytest.mark.parametrize("whole_tree", [False, True], ids=["its main process", "all its processes"])
def test_a_killed_worker_loses_nothing(stack, dataset_id, calm_weights, tmp_path, whole_tree):
    job_id = run_job(stack, dataset_id)
    wait_for_a_checkpoint(stack, job_id)
    trainer, worker = stack.find_trainer(), stack.find_worker()

    doomed = [worker, *worker.children(recursive=True)] if whole_tree else [worker]
    for process in doomed:
        process.send_signal(signal.SIGKILL)

    assert psutil.wait_procs([trainer], timeout=10)[1] == []
    job = assert_it_ended_well(stack, job_id, calm_weights, tmp_path)
    assert (job["attempt"], job["failures"], job["losses"]) == (2, 0, 1)


def test_a_killed_api_disturbs_no_training(stack, dataset_id, calm_weights, tmp_path):
    job_id = run_job(stack, dataset_id)
    wait_for_a_checkpoint(stack, job_id)

    stack.find_api().kill()
    wait_until(stack.answers, "the API is back")

    job = assert_it_ended_well(stack, job_id, calm_weights, tmp_path)
    assert job["attempt"] == 1


def test_a_worker_told_to_stop_hands_its_job_back(stack, dataset_id, calm_weights, tmp_path):
    job_id = run_job(stack, dataset_id)
    wait_for_a_checkpoint(stack, job_id)

    stack.find_worker().terminate()

    job = assert_it_ended_well(stack, job_id, calm_weights, tmp_path)
    assert (job["attempt"], job["failures"], job["losses"]) == (2, 0, 0)
