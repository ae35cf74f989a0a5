"""How jobs end that do not simply succeed, and how they go on from what was saved."""

import os
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from client import ApiError
from tests.e2e import jobs
from tests.e2e.conftest import Stack, start_stack, stop_stack, wait_until

SHORT = {"training": {"epochs": 200}, "checkpoints": {"every_seconds": 0.3}}
HUGE = {"type": "mlp", "hidden": [14_000, 14_000]}  # 800 MB of weights
ENDLESS = {"training": {"epochs": 100_000}, "checkpoints": {"every_seconds": 3600}}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Two slots, quick second tries, and points at which a test can make it fail."""
    home = Path(tempfile.mkdtemp(prefix="ts-end-"))
    home.chmod(0o711)  # for root, PostgreSQL runs as another account
    (home / "faults").mkdir()
    stack = start_stack(
        home,
        faults=str(home / "faults"),
        slots="2",
        threads="2",
        backoff_seconds="0.1",
        reconcile_seconds="0.3",
    )
    try:
        yield stack
        stop_stack(stack)
    finally:
        if stack.process.poll() is None:
            stack.process.kill()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def dataset_id(stack: Stack, tmp_path_factory) -> str:
    header, rows = jobs.read_digits()
    path = jobs.write_csv(tmp_path_factory.mktemp("data") / "digits.csv", header, rows[:900])
    return stack.client.datasets.upload(path)["id"]


def submit(stack: Stack, dataset_id: str, **changes) -> str:
    return stack.client.jobs.create(jobs.make_spec(dataset_id, "digit", **changes))["id"]


def wait_until_it_trains(stack: Stack, job_id: str) -> None:
    wait_until(lambda: stack.client.jobs.get(job_id)["progress"]["step"] > 0, "it trains")


def wait_for_checkpoints(stack: Stack, job_id: str) -> None:
    wait_until(lambda: any(stack.client.checkpoints.list(job_id)), "it has a checkpoint")


def finish(stack: Stack, job_id: str, status: str):
    job = stack.client.jobs.wait(job_id, timeout=120)
    assert job["status"] == status, job
    return job


def read_events(stack: Stack, job_id: str, type: str):
    return [e["data"] for e in stack.client.jobs.stream(job_id) if e["type"] == type]


def read_weights(stack: Stack, job_id: str, folder: Path) -> bytes:
    newest = next(iter(stack.client.checkpoints.list(job_id)))
    path = folder / f"{newest['id']}.safetensors"
    stack.client.checkpoints.download(newest["id"], path, format="safetensors")
    return path.read_bytes()


def fail_next(stack: Stack, point: str) -> Path:
    order = stack.home / "faults" / point
    order.write_text("raise")
    return order


# ---------------------------------------------------------------- going on from what was saved


@pytest.fixture(scope="module")
def calm(stack: Stack, dataset_id: str) -> str:
    job_id = submit(stack, dataset_id, **SHORT)
    finish(stack, job_id, "succeeded")
    return job_id


def assert_it_went_on(stack: Stack, job, calm: str, folder: Path) -> None:
    """From the step it was to start at, to the weights of the run that nobody disturbed."""
    step = job["retry_from"]["step"]
    (resumed,) = read_events(stack, job["id"], "resumed")
    assert (resumed["step"], resumed["checkpoint"]) == (step, f"a0/s{step}")
    series = {s["name"]: s["points"] for s in stack.client.jobs.metrics(job["id"], points=10_000)}
    whole = {s["name"]: s["points"] for s in stack.client.jobs.metrics(calm, points=10_000)}
    assert series.get("train/loss", []) == [p for p in whole["train/loss"] if p[0] > step]
    assert read_weights(stack, job["id"], folder) == read_weights(stack, calm, folder)
    first, second = (stack.client.jobs.evaluation(each) for each in (calm, job["id"]))
    assert {**first, "warnings": None} == {**second, "warnings": None}
    best = next(c for c in stack.client.checkpoints.list(job["id"]) if c["best"])
    assert best["step"] == second["checkpoint_step"]


def test_a_retry_from_the_last_checkpoint_ends_as_if_never_stopped(
    stack, dataset_id, calm, tmp_path
):
    job_id = submit(stack, dataset_id, **SHORT)
    wait_for_checkpoints(stack, job_id)
    stack.client.jobs.cancel(job_id)
    finish(stack, job_id, "cancelled")

    retried = stack.client.jobs.retry(job_id, "last")["id"]
    stack.client.jobs.delete(job_id)

    assert_it_went_on(stack, finish(stack, retried, "succeeded"), calm, tmp_path)


@pytest.mark.parametrize("start", ["best", "last"])
def test_a_retry_of_a_job_that_has_succeeded_ends_the_same(stack, calm, tmp_path, start):
    job = finish(stack, stack.client.jobs.retry(calm, start)["id"], "succeeded")

    assert_it_went_on(stack, job, calm, tmp_path)


def test_a_retry_that_is_killed_before_it_saves_begins_at_the_same_place(
    stack, dataset_id, calm, tmp_path
):
    job_id = submit(stack, dataset_id, **SHORT)
    wait_for_checkpoints(stack, job_id)
    stack.client.jobs.cancel(job_id)
    finish(stack, job_id, "cancelled")
    order = stack.home / "faults" / "checkpoint.before_write"
    order.write_text("kill")

    job = finish(stack, stack.client.jobs.retry(job_id, "last")["id"], "succeeded")

    assert not order.exists()
    assert (job["attempt"], job["failures"]) == (2, 1)
    steps = {data["step"] for data in read_events(stack, job["id"], "resumed")}
    assert steps == {job["retry_from"]["step"]}
    assert read_weights(stack, job["id"], tmp_path) == read_weights(stack, calm, tmp_path)


def test_without_a_checkpoint_only_a_retry_from_scratch_is_possible(stack, dataset_id):
    job_id = submit(stack, dataset_id, **ENDLESS)
    stack.client.jobs.pause(job_id)
    stack.client.jobs.cancel(job_id)
    job = stack.client.jobs.wait(job_id, timeout=60)
    if any(stack.client.checkpoints.list(job["id"])):
        pytest.skip("it was quick enough to train")

    with pytest.raises(ApiError) as caught:
        stack.client.jobs.retry(job_id, "last")
    assert caught.value.status == 409


# ---------------------------------------------------------------- saves that fail


def test_a_pause_that_cannot_save_is_refused_and_says_why(stack, dataset_id):
    job_id = submit(stack, dataset_id, **ENDLESS)
    wait_until_it_trains(stack, job_id)
    order = fail_next(stack, "checkpoint.before_sync")

    stack.client.jobs.pause(job_id)
    wait_until(lambda: not order.exists(), "the save fails")
    wait_until(lambda: stack.client.jobs.get(job_id)["requested"] is None, "it is refused")

    job = stack.client.jobs.get(job_id)
    assert job["status"] == "running"
    wait_until(
        lambda: stack.client.jobs.get(job_id)["progress"]["step"] > job["progress"]["step"],
        "it goes on",
    )
    stack.client.jobs.pause(job_id)
    wait_until(lambda: stack.client.jobs.get(job_id)["status"] == "paused", "it is paused")
    newest = next(iter(stack.client.checkpoints.list(job_id)))
    assert newest["step"] == stack.client.jobs.get(job_id)["progress"]["step"]
    stack.client.jobs.cancel(job_id)
    warnings = [data["message"] for data in read_events(stack, job_id, "warning")]
    assert any("Not paused" in message and "Errno" not in message for message in warnings)


def test_a_job_that_cannot_save_is_cancelled_all_the_same(stack, dataset_id):
    job_id = submit(stack, dataset_id, **ENDLESS)
    wait_until_it_trains(stack, job_id)
    order = fail_next(stack, "checkpoint.before_sync")

    stack.client.jobs.cancel(job_id)

    finish(stack, job_id, "cancelled")
    assert not order.exists()
    assert any(
        "could not be written" in w["message"] for w in read_events(stack, job_id, "warning")
    )


def test_a_time_limit_saves_then_stops(stack, dataset_id):
    job_id = submit(stack, dataset_id, **ENDLESS, limits={"max_seconds": 3})
    job = finish(stack, job_id, "failed")
    assert job["reason"] == "timeout"
    assert job["error"]["checkpoint"]["step"] == job["progress"]["step"]
    assert "could not" not in job["error"]["message"]


def test_a_time_limit_that_could_not_save_says_so(stack, dataset_id):
    changes = {**ENDLESS, "checkpoints": {"every_seconds": 3600, "keep_best": 0}}
    job_id = submit(stack, dataset_id, **changes, limits={"max_seconds": 3})
    order = fail_next(stack, "checkpoint.before_sync")

    job = finish(stack, job_id, "failed")

    assert not order.exists()
    assert job["reason"] == "timeout"
    assert "its state could not be saved: none is there" in job["error"]["message"]
    assert job["error"]["checkpoint"] is None


# ---------------------------------------------------------------- failures, by their class


def test_a_poison_job_fails_after_its_tries_and_disturbs_no_other(stack, dataset_id, calm):
    other = submit(stack, dataset_id, training={"epochs": 1000})
    wait_until_it_trains(stack, other)
    spared = {stack.find_trainer().pid}
    job_id = submit(stack, dataset_id, **ENDLESS, priority=5)

    deadline = time.monotonic() + 60
    while stack.client.jobs.get(job_id)["status"] != "failed":
        assert time.monotonic() < deadline
        for trainer in find_trainers(stack):
            if trainer.pid not in spared:
                trainer.send_signal(signal.SIGSEGV)
        time.sleep(0.05)

    job = stack.client.jobs.get(job_id)
    assert (job["reason"], job["attempt"], job["failures"]) == ("crashed", 3, 3)
    assert "SIGSEGV" in job["error"]["message"]
    running = stack.client.jobs.get(other)
    assert (running["attempt"], running["status"]) in {(1, "running"), (1, "succeeded")}
    stack.client.jobs.cancel(other)
    stack.client.jobs.wait(other, timeout=60)


def find_trainers(stack: Stack) -> list[psutil.Process]:
    warm = stack.find("worker.warm")
    pids = {process.pid for process in warm}
    return [process for process in warm if process.ppid() in pids]


def test_a_loss_that_is_not_finite_names_its_step_and_the_last_good_state(stack, dataset_id):
    job_id = submit(
        stack,
        dataset_id,
        training={"epochs": 500, "optimizer": {"type": "sgd", "lr": 1000}, "log_every": 10},
        checkpoints={"every_seconds": 0.1},
    )
    job = finish(stack, job_id, "failed")
    assert job["reason"] == "non_finite_loss"
    assert "step" in job["error"]["message"]
    assert "lr" in job["error"]["hint"]
    listed = [c["id"] for c in stack.client.checkpoints.list(job_id)]
    assert (job["error"]["checkpoint"] or {}).get("id") == next(iter(listed), None)


def find_warm_servers(stack: Stack) -> list[psutil.Process]:
    """Both, once they have imported what they import."""
    servers = wait_until(lambda: len(found := stack.find("worker.warm")) == 2 and found, "two run")
    wait_until(lambda: {p.status() for p in servers} == {psutil.STATUS_SLEEPING}, "they rest")
    return servers


def test_a_job_that_does_not_fit_into_memory_says_so(stack, dataset_id, calm):
    servers = find_warm_servers(stack)
    before = {process: process.rlimit(resource.RLIMIT_AS) for process in servers}
    for process, (_, hard) in before.items():
        process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms + 500 * 2**20, hard))
    try:
        job = finish(stack, submit(stack, dataset_id, model=HUGE), "failed")
    finally:
        for process, limits in before.items():
            process.rlimit(resource.RLIMIT_AS, limits)
    assert (job["reason"], job["attempt"]) == ("out_of_memory", 1), job["error"]
    assert "smaller" in job["error"]["hint"]
    assert job["error"]["traceback"]
    finish(stack, submit(stack, dataset_id, training={"epochs": 1}), "succeeded")


GROUPS = (  # where version 1 and version 2 of control groups limit memory
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group in which the kernel kills what takes more than 300 MB."""
    for root, limit in GROUPS:
        group = root / f"trainsmith-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(300 * 2**20))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        yield group
        group.rmdir()
        return
    pytest.skip("takes root and writable control groups")


def test_a_job_that_the_kernel_kills_for_its_memory_says_so(stack, dataset_id, calm, small_group):
    servers = find_warm_servers(stack)
    for process in servers:
        (small_group / "cgroup.procs").write_text(str(process.pid))
    try:
        job = finish(stack, submit(stack, dataset_id, model=HUGE), "failed")
    finally:
        for process in servers:
            (small_group.parent / "cgroup.procs").write_text(str(process.pid))
    assert (job["reason"], job["attempt"]) == ("out_of_memory", 1)
    assert "kernel killed" in job["error"]["message"]
    assert [p.pid for p in stack.find("worker.warm")] == [p.pid for p in servers]
    finish(stack, submit(stack, dataset_id, training={"epochs": 1}), "succeeded")
