"""Linux calls that keep a tree of processes together."""

import ctypes
import os
import signal
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """SIGKILL this process when the thread that forked it ends."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def adopt_orphans() -> None:
    """Orphaned descendants become children of this process instead of init's."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def list_descendants(pid: int) -> list[int]:
    """Living descendants of `pid`, zombies left out."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it ended while we looked
            children.setdefault(int(parent), []).append((int(entry.name), state))
    found, waiting = [], [pid]
    while waiting:
        for child, state in children.get(waiting.pop(), []):
            waiting.append(child)
            if state not in "ZX":
                found.append(child)
    return found


def kill_descendants() -> None:
    """SIGKILL everything below this process, and what those fork meanwhile, and reap it."""
    while descendants := list_descendants(os.getpid()):
        for pid in descendants:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        reap_children()
        time.sleep(0.002)
    reap_children()


def reap_children() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
