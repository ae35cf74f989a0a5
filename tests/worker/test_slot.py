"""A slot on its real warm server. A trainer is kept busy by a request that never gets written."""

import json
import os
import select
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.worker.stand_ins import is_alive
from worker.slot import Slot, SlotBroken


@pytest.fixture(scope="module")
def slot(tmp_path_factory):
    slot = Slot(30, tmp_path_factory.mktemp("cache"))
    yield slot
    slot.stop()


@pytest.fixture
def ready(slot):
    """The slot with a warm server that has said so, if it did not before."""
    if slot.broken:
        slot.restart_if_broken()
        assert "ready" in receive(slot)
    return slot


def receive(slot: Slot) -> dict:
    assert select.select([slot.control], [], [], 60)[0], "the warm server said nothing"
    return slot.receive()


def launch(slot: Slot, request) -> tuple[psutil.Process, socket.socket]:
    ours, theirs = socket.socketpair()
    log = os.open(os.devnull, os.O_WRONLY)
    slot.launch(request, theirs, log)
    theirs.close()
    os.close(log)
    return psutil.Process(receive(slot)["started"]), ours


@pytest.fixture
def endless(tmp_path):
    """A request on which a trainer waits for ever."""
    os.mkfifo(tmp_path / "request.json")
    return tmp_path / "request.json"


def test_a_trainer_that_fails_says_why_and_ends(ready, tmp_path):
    _, channel = launch(ready, tmp_path / "absent.json")

    message = json.loads(channel.makefile().readline())
    assert (message["kind"], message["reason"]) == ("failed", "crashed")
    assert "absent.json" in message["message"]
    assert receive(ready) == {"exit": 0}


def test_a_killed_trainer_leaves_a_slot_that_works(ready, endless, tmp_path):
    trainer, _ = launch(ready, endless)
    ready.kill()
    assert os.WTERMSIG(receive(ready)["exit"]) == signal.SIGKILL
    assert not is_alive(trainer)

    ready.kill()  # for a job that has just ended: means nothing
    _, channel = launch(ready, tmp_path / "absent.json")
    assert receive(ready) == {"exit": 0}
    channel.close()


def test_a_trainer_is_the_first_to_go_when_memory_runs_out(ready, endless):
    trainer, _ = launch(ready, endless)
    score = Path(f"/proc/{trainer.pid}/oom_score_adj")
    deadline = time.monotonic() + 10
    while score.read_text().strip() != "500" and time.monotonic() < deadline:
        time.sleep(0.01)

    assert score.read_text().strip() == "500"
    ready.kill()
    assert "exit" in receive(ready)


def test_a_killed_warm_server_breaks_the_slot_until_the_next_job(ready, endless, tmp_path):
    trainer, _ = launch(ready, endless)
    trainer.parent().kill()

    with pytest.raises(SlotBroken):
        receive(ready)
    deadline = time.monotonic() + 1
    while is_alive(trainer) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(trainer)

    ready.restart_if_broken()
    assert "ready" in receive(ready)
    _, channel = launch(ready, tmp_path / "absent.json")
    assert receive(ready) == {"exit": 0}
    channel.close()


def test_a_stopped_slot_leaves_nothing_behind(ready, endless):
    trainer, _ = launch(ready, endless)
    warm = trainer.parent()
    shim = warm.parent()

    ready.stop()

    assert not any(map(is_alive, (trainer, warm, shim)))
    assert ready.broken
