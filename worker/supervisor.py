"""Runs one job: claims it, has it trained by the slot below, and brings its end home."""

import json
import logging
import os
import select
import shutil
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as query
from sqlalchemy.orm import Session

from app import faults, storage
from app.checkpoints import service as checkpoints
from app.config import get_settings
from app.datasets.tables import Dataset
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.failures import LOG_LINES
from app.jobs.leases import Lease
from app.jobs.tables import Attempt, Job, Reason, Requested
from app.specs import JobSpec
from worker import channel
from worker.channel import LineBuffer, Message
from worker.endings import count_oom_kills, describe_death, describe_timeout
from worker.engine.reporter import Stop
from worker.recorder import OutageTooLong, Recorder, insist
from worker.slot import Slot, SlotBroken

log = logging.getLogger(__name__)
TICK_SECONDS = 0.2
BEAT_SECONDS = 1.0
MAX_LOG_BYTES = 1 << 20
MAX_LINE_CHARS = 4096
STOPS = {Requested.CANCEL: Stop.CANCEL, Requested.PAUSE: Stop.PAUSE}


@dataclass(frozen=True)
class Assignment:
    """A claimed job and all that its training needs, read in the transaction of the claim."""

    lease: Lease
    spec: JobSpec
    dataset: Dataset
    test_dataset: Dataset | None
    resume: list[str]  # keys of checkpoint folders, newest first
    seconds_left: float


def claim_job(worker: str) -> Assignment | None:
    """Take the best due job; None when nothing is due."""
    with transaction() as session:
        lease = lifecycle.claim(session, worker)
        return None if lease is None else load_assignment(session, lease)


def load_assignment(session: Session, lease: Lease) -> Assignment:
    job = session.get_one(Job, lease.job_id)
    spec = JobSpec.model_validate_json(json.dumps(job.spec))
    spent = func.sum(func.extract("epoch", Attempt.ended_at - Attempt.started_at))
    seconds_spent = session.scalar(query(spent).where(Attempt.job_id == job.id)) or 0
    test_id = job.test_dataset_id
    return Assignment(
        lease=lease,
        spec=spec,
        dataset=session.get_one(Dataset, job.dataset_id),
        test_dataset=session.get_one(Dataset, test_id) if test_id else None,
        resume=list_resume_keys(session, job),
        seconds_left=spec.limits.max_seconds - float(seconds_spent),
    )


def list_resume_keys(session: Session, job: Job) -> list[str]:
    """The checkpoints of the job and the one it was given to start from, newest first."""
    found = [(row.step, row.path) for row in checkpoints.list_resumable(session, job.id)]
    if job.retry_from is not None:
        step = job.retry_from["step"]
        found.append((step, storage.checkpoint_key(job.id, storage.INHERITED, step)))
    return [path for _, path in sorted(found, key=lambda pair: -pair[0])]


def write_request(assignment: Assignment, threads: int) -> Path:
    """Make the folder of the attempt and put the request of its training process there."""
    lease = assignment.lease
    folder = storage.get_path(storage.attempt_key(lease.job_id, lease.attempt))
    folder.mkdir(parents=True, exist_ok=True)
    for parent in folder.parents[:2]:  # the folders of the job and of all jobs
        storage.sync_folder(parent)
    for leftover in folder.parent.glob("a*/.*.tmp"):  # of attempts that were killed
        shutil.rmtree(leftover, ignore_errors=True)
    request = {
        "job_id": lease.job_id,
        "spec": assignment.spec.model_dump(mode="json"),
        "dataset": _describe_table(assignment.dataset),
        "test_dataset": assignment.test_dataset and _describe_table(assignment.test_dataset),
        "folder": str(folder),
        "resume": [str(storage.get_path(key)) for key in assignment.resume],
        "threads": threads,
    }
    path = folder / "request.json"
    path.write_text(json.dumps(request))
    return path


def _describe_table(dataset: Dataset) -> dict[str, Any]:
    path = storage.get_path(storage.dataset_key(dataset.id)) / "table.parquet"
    return {"path": str(path), "columns": dataset.columns, "sha256": dataset.sha256}


class Supervisor:
    """Watches one training process from its fork to its end."""

    def __init__(self, assignment: Assignment, slot: Slot, is_draining: Callable[[], bool]) -> None:
        self.lease = assignment.lease
        self._assignment = assignment
        self._slot = slot
        self._is_draining = is_draining
        self._recorder = Recorder(assignment.lease, assignment.spec.checkpoints)
        self._deadline = time.monotonic() + assignment.seconds_left
        self._channel, self._trainer_end = socket.socketpair()
        self._log, self._log_end = os.pipe()
        self._channel.setblocking(False)
        os.set_blocking(self._log, False)
        self._messages, self._lines = LineBuffer(), LineBuffer()
        self._log_bytes = 0
        self._tail: deque[str] = deque(maxlen=LOG_LINES)
        self._last: Message | None = None  # `done` or `failed`, the trainer's last word
        self._exit: int | None = None  # wait status of the trainer
        self._stop: Stop | None = None
        self._kill_at: float | None = None
        self._late = False
        self._saved_step = 0  # of the last checkpoint
        self._beaten_at = 0.0
        self._error: Exception | None = None  # what went wrong on this side

    def run(self) -> None:
        oom_kills = count_oom_kills()
        self._recorder.start()
        try:
            self._launch()
            while self._exit is None:
                self._watch()
            self._slot.rest()
        except SlotBroken:
            log.warning("%s: the warm server below is gone", self.lease.job_id)
        except Exception as error:
            log.exception("%s: its supervisor failed", self.lease.job_id)
            self._error = error
        finally:
            if self._exit is None:
                self._slot.stop()  # whatever still trains there is nobody's any more
            self._drain_pipes()
            self._recorder.close()
        if not self._recorder.lost:
            self._conclude(out_of_memory=count_oom_kills() > oom_kills)

    def _launch(self) -> None:
        try:
            faults.reach("supervisor.before_launch")
            self._slot.restart_if_broken()
            threads = max(1, get_settings().threads // get_settings().slots)
            request = write_request(self._assignment, threads)
            self._slot.launch(request, self._trainer_end, self._log_end)
            faults.reach("supervisor.after_launch")
        finally:  # the trainer has its own copies
            self._trainer_end.close()
            os.close(self._log_end)

    def _watch(self) -> None:
        assert self._slot.control is not None
        sources: list[Any] = [self._channel, self._log, self._slot.control]
        ready, _, _ = select.select(sources, [], [], TICK_SECONDS)
        if self._channel in ready:
            self._read_channel()
        if self._log in ready:
            self._read_log()
        if self._slot.control in ready:
            self._exit = self._slot.receive().get("exit")
        self._beat()
        self._order_stop()
        self._kill_if_due()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten_at >= BEAT_SECONDS:
            self._slot.beat()
            self._beaten_at = now

    # ------------------------------------------------------------ what the trainer says

    def _read_channel(self) -> bool:
        """Pass messages on. False: the other end is closed or has nothing to say now."""
        try:
            data = self._channel.recv(channel.CHUNK_BYTES)
        except (BlockingIOError, ConnectionResetError):
            return False
        for line in self._messages.feed(data):
            message = json.loads(line)
            if message["kind"] in ("done", "failed"):
                self._last = message
                continue
            self._recorder.put(message)
            self._take_note(message)
        return bool(data)

    def _take_note(self, message: Message) -> None:
        match message["kind"]:
            case "refused":
                self._stop = self._kill_at = None
            case "checkpoint":
                self._saved_step = max(self._saved_step, message["step"])
            case "event" if message["type"] == "resumed":
                self._saved_step = message["data"]["step"]

    def _read_log(self) -> bool:
        try:
            data = os.read(self._log, channel.CHUNK_BYTES)
        except BlockingIOError:
            return False
        self._record_lines(self._lines.feed(data))
        return bool(data)

    def _record_lines(self, lines: list[bytes]) -> None:
        if not lines:
            return
        texts = [clean_line(line) for line in lines]
        self._tail.extend(texts)
        full_before = self._log_bytes > MAX_LOG_BYTES
        self._log_bytes += sum(map(len, lines))
        if full_before:
            return
        if self._log_bytes > MAX_LOG_BYTES:
            texts.append("[the log has reached its limit; what follows is not kept]")
        self._recorder.put({"kind": "log", "lines": texts})

    def _drain_pipes(self) -> None:
        while self._read_channel():
            pass
        while self._read_log():
            pass
        if rest := self._lines.take_rest():
            self._record_lines([rest])
        self._channel.close()
        os.close(self._log)

    # ------------------------------------------------------------ what the trainer is told

    def _wanted_stop(self) -> Stop | None:
        if self._recorder.requested is not None:
            return STOPS[self._recorder.requested]
        if time.monotonic() > self._deadline:
            return Stop.TIMEOUT
        return Stop.RELEASE if self._is_draining() else None

    def _order_stop(self) -> None:
        stop = self._wanted_stop()
        if stop is None or self._stop is not None:
            return
        self._stop = stop
        self._kill_at = time.monotonic() + get_settings().stop_grace_seconds
        try:
            channel.send(self._channel, {"stop": stop})
        except (BrokenPipeError, ConnectionResetError, BlockingIOError):
            log.info("%s: its trainer is ending already", self.lease.job_id)

    def _kill_if_due(self) -> None:
        late = self._kill_at is not None and time.monotonic() > self._kill_at
        if late or self._recorder.lost or self._recorder.error:
            self._slot.kill()
            self._kill_at = None
            self._late = late

    # ------------------------------------------------------------ how it ended

    def _conclude(self, out_of_memory: bool) -> None:
        faults.reach("supervisor.before_conclude")
        finish = self._choose_end(out_of_memory)
        try:
            if not insist(finish):
                log.warning("%s: it belongs to another worker now", self.lease.job_id)
        except OutageTooLong:
            log.error("%s: its end could not be stored; it will run again", self.lease.job_id)

    def _choose_end(self, out_of_memory: bool) -> Callable[[Session], bool]:
        if (error := self._error or self._recorder.error) is not None:
            cause = f"the worker failed: {type(error).__name__}: {error}"
            return self._fail(Reason.CRASHED, {"message": cause}, retry=True)
        last = self._last
        if last is not None and last["kind"] == "failed":
            return self._fail(Reason(last["reason"]), last, retry=last["retry"])
        if last is not None and last["stopped"] is None:
            return partial(lifecycle.succeed, lease=self.lease, evaluation=last["evaluation"])
        stop = Stop(last["stopped"]) if last else self._stop
        if stop is Stop.TIMEOUT:
            saved = last is not None and last["saved"]
            timeout = describe_timeout(self._assignment.spec, saved, self._saved_step)
            return self._fail(Reason.TIMEOUT, timeout, retry=False)
        if stop is None or (last is None and stop is Stop.PAUSE):  # nothing says it has saved
            grace = get_settings().stop_grace_seconds if self._late else None
            return self._fail(*describe_death(self._exit, out_of_memory, grace))
        return partial(lifecycle.hand_back, lease=self.lease)

    def _fail(self, reason: Reason, message: Message, retry: bool) -> Callable[[Session], bool]:
        error = {
            "message": message["message"],
            "hint": message.get("hint", ""),
            "traceback": message.get("traceback"),
            "log_tail": list(self._tail),
        }
        return partial(lifecycle.fail, lease=self.lease, reason=reason, error=error, retry=retry)


def clean_line(line: bytes) -> str:
    """A log line that Postgres and a terminal can take."""
    text = line.decode(errors="replace")[:MAX_LINE_CHARS]
    return "".join(
        char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in text
    )
