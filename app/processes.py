"""Child processes that do not outlive us, and those that a dead predecessor left behind."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from app import linux

Escalation = Sequence[tuple[signal.Signals, float]]  # signal, seconds to wait for its effect


def spawn(
    command: Sequence[str | Path],
    *,
    output: int | None,
    death_signal: signal.Signals,
    account: tuple[int, int] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own, as `account` (uid, gid) if that is given.

    The kernel sends `death_signal` when the *thread* that called this ends: call it from one
    that lives as long as the child should.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        linux.die_with_parent(death_signal)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        preexec_fn=die_with_parent,
        env=env,
        cwd=cwd,
        user=account[0] if account else None,
        group=account[1] if account else None,
        extra_groups=[] if account else None,
    )


def run_as(account: tuple[int, int] | None, command: Sequence[str | Path]) -> str:
    """Run a short command and return what it said. Raises CalledProcessError."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=True,
        text=True,
        user=account[0] if account else None,
        group=account[1] if account else None,
        extra_groups=[] if account else None,
    )
    return done.stdout


def stop_process(process: subprocess.Popen[bytes], escalation: Escalation) -> None:
    for number, seconds in escalation:
        if process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue


def stop_strays(program: str, marker: str, escalation: Escalation) -> None:
    """Stop every process of `program` whose command line holds `marker`."""
    for number, seconds in escalation:
        strays = find_processes(program, marker)
        if not strays:
            return
        for stray in strays:
            stray.send_signal(number)
        psutil.wait_procs(strays, timeout=seconds)


def find_processes(program: str, marker: str) -> list[psutil.Process]:
    # The command line is the one thing every account may read of every process.
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or [""]
        if program in words[0] and any(marker in word for word in words):
            found.append(process)
    return found
