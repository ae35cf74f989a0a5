"""Processes for the tests of the shim: a supervisor above it, and a family of daemons below it.

python -m tests.worker.stand_ins supervisor TTL_SECONDS FOLDER
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from worker import shim

MODULE = "tests.worker.stand_ins"


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def supervise(ttl_seconds: str, folder: Path) -> None:
    """Beats until it is killed, or rests once `rest` appears in the folder."""
    lifeline, ours = os.pipe()
    control, _ = os.pipe()
    command = [sys.executable, "-m", MODULE, "shim", str(lifeline), str(control), ttl_seconds]
    process = subprocess.Popen(
        command,
        pass_fds=[lifeline, control],
        start_new_session=True,
        env=os.environ | {"FOLDER": str(folder)},
    )
    (folder / "shim").write_text(str(process.pid))
    os.close(lifeline)
    while not (folder / "rest").exists():
        os.write(ours, shim.BEAT)
        time.sleep(0.05)
    os.write(ours, shim.IDLE)
    (folder / "resting").touch()
    process.wait()


def run_shim(arguments: list[str]) -> None:
    def start_family(_control: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", MODULE, "family"], start_new_session=True)

    shim.start_warm_server = start_family  # type: ignore[assignment]
    sys.argv = ["shim", *arguments]
    shim.main()


def found_family(folder: Path) -> None:
    """A child in a session of its own and a daemon whose parent has ended, both deaf to signals."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    child = fork(lambda: None)
    reading, writing = os.pipe()
    fork(lambda: os.write(writing, str(fork(lambda: None)).encode()), lives=False)
    daemon = int(os.read(reading, 16))
    partial = folder / "pids.partial"
    partial.write_text(json.dumps([os.getpid(), child, daemon]))
    partial.rename(folder / "pids")
    time.sleep(600)


def fork(action, lives: bool = True) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    action()
    if lives:
        time.sleep(600)
    os._exit(0)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "supervisor":
        supervise(rest[0], Path(rest[1]))
    elif role == "shim":
        run_shim(rest)
    else:
        found_family(Path(os.environ["FOLDER"]))
