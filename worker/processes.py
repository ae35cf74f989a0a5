"""All processes below this one."""

import os
import signal
import time
from pathlib import Path


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
