"""Nothing outlives its supervisor: not a trainer, nor what a trainer has started."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.worker.stand_ins import is_alive

TTL_SECONDS = 1.0


@dataclass
class Tree:
    folder: Path
    supervisor: subprocess.Popen[bytes]
    shim: psutil.Process
    family: list[psutil.Process]

    def wait_until_gone(self, *others: psutil.Process) -> float:
        """Seconds until the family is gone; -1 if some of it stays."""
        started = time.monotonic()
        waiting = [*self.family, *others]
        while time.monotonic() - started < 10:
            if not any(map(is_alive, waiting)):
                return time.monotonic() - started
            time.sleep(0.01)
        return -1


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def tree(tmp_path):
    command = [sys.executable, "-m", "tests.worker.stand_ins", "supervisor"]
    supervisor = subprocess.Popen([*command, str(TTL_SECONDS), str(tmp_path)])
    wait_until((tmp_path / "pids").exists)
    family = [psutil.Process(pid) for pid in json.loads((tmp_path / "pids").read_text())]
    shim = psutil.Process(int((tmp_path / "shim").read_text()))
    try:
        yield Tree(tmp_path, supervisor, shim, family)
    finally:
        for process in (supervisor, shim, *family):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        supervisor.wait()


def test_a_killed_supervisor_takes_everything_below_with_it(tree):
    tree.supervisor.kill()

    assert 0 <= tree.wait_until_gone(tree.shim) <= 1


def test_everything_goes_when_the_supervisor_gives_no_sign_for_the_length_of_a_lease(tree):
    tree.supervisor.send_signal(signal.SIGSTOP)

    assert 0 <= tree.wait_until_gone(tree.shim) <= TTL_SECONDS + 1


def test_everything_stays_while_the_supervisor_beats(tree):
    time.sleep(TTL_SECONDS * 1.5)

    assert all(map(is_alive, tree.family))


def test_a_resting_slot_needs_no_beats(tree):
    (tree.folder / "rest").touch()
    wait_until((tree.folder / "resting").exists)
    time.sleep(TTL_SECONDS * 1.5)

    assert all(map(is_alive, tree.family))


def test_when_the_warm_server_ends_its_daemons_end_too(tree):
    tree.family[0].kill()

    assert 0 <= tree.wait_until_gone(tree.shim) <= 1


def test_signals_meant_for_the_terminal_do_not_end_it(tree):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        tree.shim.send_signal(number)
    time.sleep(0.2)

    assert is_alive(tree.shim)
    assert all(map(is_alive, tree.family))
