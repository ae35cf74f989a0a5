"""Named points where a test makes a process die, freeze or fail. Off unless a folder is named.

With TRAINSMITH_FAULTS set to a folder, a process that reaches point `p` looks for a file `p` in it.
Whoever renames that file away first suffers what it says: `kill`, `term`, `freeze` or `raise`.
"""

import os
import signal
from pathlib import Path

FOLDER = os.environ.get("TRAINSMITH_FAULTS")
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "freeze": signal.SIGSTOP}


class InjectedFault(OSError):
    """A test asked for this. To the code that meets it, the disk or the network failed."""


def reach(point: str) -> None:
    if FOLDER is not None:
        _suffer(Path(FOLDER) / point)


def _suffer(order: Path) -> None:
    try:
        mode = order.read_text().strip()
        order.rename(order.with_name(f"{order.name}.fired"))
    except FileNotFoundError:
        return
    if mode == "raise":
        raise InjectedFault(order.name)
    os.kill(os.getpid(), SIGNALS[mode])
