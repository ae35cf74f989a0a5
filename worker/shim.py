"""The process between a supervisor and all training below it: nothing outlives the supervisor.

It imports no torch and does one thing. The supervisor holds the other end of the lifeline pipe and
writes to it: `b` (beat: a job is on, I live), `i` (idle: no beats needed). When the pipe closes, or
beats stay away for `ttl_seconds` while a job is on, or the warm server ends, everything is killed.

    python shim.py LIFELINE_FD CONTROL_FD TTL_SECONDS
"""

import os
import select
import signal
import subprocess
import sys
import time

from app import linux
from worker import processes

BEAT, IDLE = b"b", b"i"
# NumPy's OpenBLAS would start threads on import, and a process with threads forks badly.
WARM_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


def start_warm_server(control: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "worker.warm", str(control)]
    return subprocess.Popen(
        command,
        pass_fds=[control],
        env=os.environ | WARM_ENVIRONMENT,
        start_new_session=True,
        preexec_fn=linux.die_with_parent,
    )


def watch(lifeline: int, warm_server: int, ttl_seconds: float) -> None:
    """Return once everything below has to go."""
    deadline: float | None = None
    while True:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([lifeline, warm_server], [], [], timeout)
        if warm_server in ready or not ready:
            return
        beats = os.read(lifeline, 4096)
        if not beats:
            return
        deadline = None if beats.endswith(IDLE) else time.monotonic() + ttl_seconds


def main() -> None:
    lifeline, control, ttl_seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the lifeline decides, not a stray signal
    linux.adopt_orphans()
    warm_server = start_warm_server(control)
    os.close(control)
    watch(lifeline, os.pidfd_open(warm_server.pid), ttl_seconds)
    processes.kill_descendants()


if __name__ == "__main__":
    main()
