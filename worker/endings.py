"""How an attempt ended, in words for the owner of its job."""

import os
import signal
from pathlib import Path

from app.jobs.tables import Reason
from app.specs import JobSpec
from worker.channel import Message

OOM_COUNTERS = (
    Path("/proc/vmstat"),
    Path("/sys/fs/cgroup/memory.events"),
    Path("/sys/fs/cgroup/memory/memory.oom_control"),
)


def describe_death(
    status: int | None, out_of_memory: bool, killed_after: float | None = None
) -> tuple[Reason, Message, bool]:
    """Reason, error and whether to retry, for a trainer that ended without a last word.

    `killed_after`: the seconds after which it was killed because it did not stop.
    """
    code = None if status is None else os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL and out_of_memory:
        message = "the kernel killed the training process: the machine ran out of memory"
        hint = "Use a smaller model or dataset, or run fewer slots on this machine."
        return Reason.OUT_OF_MEMORY, {"message": message, "hint": hint}, False
    if code is None:
        cause = "the training process vanished together with its warm server"
    elif killed_after is not None:
        cause = f"the training process did not stop within {killed_after:g} s and was killed"
    elif code < 0:
        cause = f"the training process was ended by {signal.Signals(-code).name}"
    else:
        cause = f"the training process ended with exit status {code}"
    return Reason.CRASHED, {"message": cause, "hint": "See the job's logs."}, True


def describe_timeout(spec: JobSpec, saved: bool, saved_step: int) -> Message:
    """`saved_step`: of the last checkpoint, 0 if there is none."""
    message = f"training reached its limit of {spec.limits.max_seconds:g} s"
    if not saved:
        last = f"the last checkpoint is of step {saved_step}" if saved_step else "none is there"
        message += f", and its state could not be saved: {last}"
    hint = "Raise limits.max_seconds, or retry the job from its last checkpoint."
    return {"message": message, "hint": hint}


def count_oom_kills() -> int:
    """Processes that the kernel has killed for lack of memory, as far as this process can see.

    A container may see its own counter alone. A kill may count more than once: it is the rise
    that tells.
    """
    return sum(map(_read_oom_kills, OOM_COUNTERS))


def _read_oom_kills(path: Path) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
