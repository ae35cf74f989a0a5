"""One owner for one data folder."""

import fcntl
import os
from pathlib import Path

from app.embedded.errors import FolderInUse


def take_lock(file: Path) -> int:
    """Hold `file` until the answer, a descriptor, is closed or this process ends."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode() or "unknown"
        os.close(lock)
        raise FolderInUse(
            f"the data folder {file.parent} is in use by process {owner}: "
            "stop that one, or choose another folder with --home"
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock
