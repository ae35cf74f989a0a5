import errno
import signal
from pathlib import Path

import duckdb
import pytest
import torch

from app.jobs.tables import Reason
from tests.worker.conftest import make_spec
from worker import endings
from worker.child import describe_failure
from worker.endings import count_oom_kills, describe_death, describe_timeout
from worker.engine.errors import DataError, NonFiniteLoss, UserError


def test_a_death_by_signal_names_it_and_is_tried_again() -> None:
    reason, error, retry = describe_death(signal.SIGSEGV, out_of_memory=False)
    assert (reason, retry) == (Reason.CRASHED, True)
    assert "SIGSEGV" in error["message"]


def test_an_exit_status_is_named() -> None:
    _, error, _ = describe_death(3 << 8, out_of_memory=False)
    assert "exit status 3" in error["message"]


def test_a_kill_by_the_kernel_is_out_of_memory_and_is_not_tried_again() -> None:
    reason, error, retry = describe_death(signal.SIGKILL, out_of_memory=True)
    assert (reason, retry) == (Reason.OUT_OF_MEMORY, False)
    assert error["hint"]


def test_another_death_while_memory_ran_out_elsewhere_is_a_crash() -> None:
    assert describe_death(signal.SIGSEGV, out_of_memory=True)[0] is Reason.CRASHED


def test_a_process_that_did_not_stop_in_time_is_told_from_a_crash() -> None:
    _, error, _ = describe_death(signal.SIGKILL, out_of_memory=False, killed_after=120)
    assert "did not stop within 120 s" in error["message"]


def test_a_vanished_process_is_a_crash() -> None:
    assert describe_death(None, out_of_memory=True)[0] is Reason.CRASHED


def test_a_timeout_that_could_not_save_names_the_last_checkpoint() -> None:
    spec = make_spec(limits={"max_seconds": 5})
    assert "could not" not in describe_timeout(spec, True, 40)["message"]
    assert "the last checkpoint is of step 40" in describe_timeout(spec, False, 40)["message"]
    assert "none is there" in describe_timeout(spec, False, 0)["message"]


def test_kills_are_counted_wherever_the_kernel_shows_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine, group = tmp_path / "vmstat", tmp_path / "memory.events"
    machine.write_text("nr_free_pages 1\noom_kill 3\n")
    group.write_text("oom 9\noom_kill 2\noom_group_kill 0\n")
    paths = (machine, group, tmp_path / "absent")
    monkeypatch.setattr(endings, "OOM_COUNTERS", paths)
    assert count_oom_kills() == 5


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: ..."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        duckdb.OutOfMemoryException("failed to allocate"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_memory_that_runs_out_is_known_in_all_its_guises(error: Exception) -> None:
    failure = describe_failure(error)
    assert (failure["reason"], failure["retry"]) == ("out_of_memory", False)
    assert failure["hint"]
    assert failure["traceback"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("no", hint="fix"), "user_error"),
        (DataError("no", hint="fix"), "data_error"),
        (NonFiniteLoss("no", hint="fix"), "non_finite_loss"),
    ],
)
def test_what_its_owner_can_mend_is_not_tried_again(error: Exception, reason: str) -> None:
    failure = describe_failure(error)
    assert (failure["reason"], failure["hint"], failure["retry"]) == (reason, "fix", False)


def test_a_full_disk_says_what_to_do() -> None:
    failure = describe_failure(OSError(errno.ENOSPC, "No space left on device"))
    assert (failure["reason"], failure["retry"]) == ("crashed", True)
    assert "disk" in failure["hint"]


def test_a_bug_shows_where_it_was() -> None:
    try:
        raise KeyError("lost")
    except KeyError as error:
        failure = describe_failure(error)
    assert (failure["reason"], failure["retry"]) == ("crashed", False)
    assert "test_endings.py" in failure["traceback"]
