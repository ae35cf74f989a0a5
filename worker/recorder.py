"""Writes what a trainer reports to Postgres, off the training path, and keeps the lease."""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app import faults, storage
from app.checkpoints import service as checkpoints
from app.config import get_settings
from app.db import after_commit, transaction
from app.events.service import NewEvent
from app.jobs import leases, lifecycle
from app.jobs.leases import Lease
from app.jobs.tables import Phase, Requested
from app.metrics.ingest import add_points
from app.specs.training import CheckpointsSpec
from worker.channel import Message
from worker.engine.reporter import Point

log = logging.getLogger(__name__)
T = TypeVar("T")
POLL_SECONDS = 0.25
MAX_BATCH = 10_000
PROGRESS = ("step", "total_steps", "epoch", "eta_seconds")


class OutageTooLong(Exception):
    """Postgres was away for longer than TRAINSMITH_OUTAGE_SECONDS."""


def insist(action: Callable[[Session], T], retry: Callable[[Session], T] | None = None) -> T:
    """Run `action` in a transaction, again and again while Postgres is away.

    `retry`, if given, stands in from the second try on: the first may have been committed although
    its answer was lost. Raises OutageTooLong.
    """
    deadline = time.monotonic() + get_settings().outage_seconds
    pause = 0.1
    while True:
        try:
            with transaction() as session:
                return action(session)
        except (DBAPIError, PoolTimeout) as error:
            if not _is_outage(error):
                raise
            if time.monotonic() > deadline:
                raise OutageTooLong from error
            log.warning("Postgres is away, trying again: %s", str(error).splitlines()[0])
        time.sleep(pause)
        pause = min(2.0, get_settings().renew_seconds, pause * 2)  # in time to keep the lease
        action = retry or action


def _is_outage(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error, OperationalError)
    return True


@dataclass
class Batch:
    """Messages of a training process, folded into what one transaction writes."""

    events: list[NewEvent] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    progress: dict[str, Any] = field(default_factory=dict)
    saved: list[Message] = field(default_factory=list)
    resume_step: int | None = None
    refused: bool = False

    def add(self, message: Message) -> None:
        match message["kind"]:
            case "metrics":
                points = [(name, step, value) for name, step, value in message["points"]]
                self.points += points
                self.events.append(NewEvent("metric", {"points": points}))
            case "progress":
                self.progress |= {key: message[key] for key in PROGRESS}
            case "phase" if message["phase"] != Phase.PREPARING:  # the claim has said so already
                phase = Phase(message["phase"])
                self.progress["phase"] = phase
                self.events.append(lifecycle.phase_event(phase))
            case "checkpoint":
                self.saved.append(message)
            case "log":
                self.events.append(NewEvent("log", {"lines": message["lines"]}))
            case "event":
                self._add_event(NewEvent(message["type"], message["data"]))
            case "refused":
                self.refused = True
                self.events.append(describe_refusal(message))

    def _add_event(self, event: NewEvent) -> None:
        self.events.append(event)
        if event.type == "resumed":
            self.resume_step = event.data["step"]


def describe_refusal(message: Message) -> NewEvent:
    text = f"Not paused, training goes on: it could not be saved: {message['reason']}."
    return NewEvent("warning", {"message": text})


class Recorder(threading.Thread):
    """Takes messages in order and never loses, doubles or reorders one."""

    def __init__(self, lease: Lease, keep: CheckpointsSpec) -> None:
        super().__init__(name="recorder", daemon=True)
        self.error: Exception | None = None  # what ended this thread early
        self.lost = False  # another worker owns the job, or Postgres was away for too long
        self._lease = lease
        self._keep = keep
        self._messages: SimpleQueue[Message | None] = SimpleQueue()
        self._closed = False
        self._number = 0
        self._renewed_at = time.monotonic()
        self._requested: Requested | None = None
        self._refusing = False  # to pause; until that is written

    @property
    def requested(self) -> Requested | None:
        """What a client has asked for and training has not refused."""
        requested = self._requested
        return None if self._refusing and requested is Requested.PAUSE else requested

    def put(self, message: Message) -> None:
        if message["kind"] == "refused":
            self._refusing = True
        self._messages.put(message)

    def close(self) -> None:
        """Write everything that was put, then end."""
        self._messages.put(None)
        self.join()

    def run(self) -> None:
        try:
            while not self._closed and not self.lost:
                self._renew_if_due()
                if messages := self._collect():
                    self._write(messages)
        except OutageTooLong:
            log.error("%s: %s", self._lease.job_id, OutageTooLong.__doc__)
            self.lost = True
        except Exception as error:
            log.exception("%s: its recorder failed", self._lease.job_id)
            self.error = error

    def _collect(self) -> list[Message]:
        messages: list[Message] = []
        wait = POLL_SECONDS
        while len(messages) < MAX_BATCH:
            try:
                message = self._messages.get(timeout=wait) if wait else self._messages.get_nowait()
            except Empty:
                break
            if message is None:
                self._closed = True
                break
            messages.append(message)
            wait = 0
        return messages

    def _renew_if_due(self) -> None:
        now = time.monotonic()
        if now - self._renewed_at >= get_settings().renew_seconds:
            self.lost = not insist(partial(leases.renew, lease=self._lease))
            self._renewed_at = now
        self._read_request()

    def _read_request(self) -> None:
        self._requested = insist(partial(lifecycle.read_request, lease=self._lease))

    def _write(self, messages: Iterable[Message]) -> None:
        batch = Batch()
        for message in messages:
            batch.add(message)
        self._number += 1
        if not insist(partial(self._apply, batch=batch), partial(self._apply_once, batch=batch)):
            self.lost = True
        faults.reach("recorder.after_commit")
        if batch.refused:
            self._read_request()
            self._refusing = False

    def _apply_once(self, session: Session, batch: Batch) -> bool:
        recorded = lifecycle.is_recorded(session, self._lease, self._number)
        return recorded or self._apply(session, batch)

    def _apply(self, session: Session, batch: Batch) -> bool:
        lease = self._lease
        # Fence first: from here to the commit nobody can take the job over.
        if not lifecycle.record(session, lease, batch=self._number, **batch.progress):
            return False
        if batch.resume_step is not None:
            lifecycle.set_resume_step(session, lease, batch.resume_step)
            keys = checkpoints.drop_after(session, lease.job_id, batch.resume_step)
            after_commit(session, partial(remove_folders, keys))
        add_points(session, lease.attempt_id, batch.points)
        saved = [self._add_checkpoint(session, message) for message in batch.saved]
        lifecycle.record(session, lease, batch.events + saved)
        if batch.refused:
            lifecycle.refuse_pause(session, lease)
        if saved:
            keep = self._keep
            keys = checkpoints.prune(session, lease.job_id, keep.keep_last, keep.keep_best)
            after_commit(session, partial(remove_folders, keys))
        faults.reach("recorder.before_commit")
        return True

    def _add_checkpoint(self, session: Session, message: Message) -> NewEvent:
        row = checkpoints.add_checkpoint(
            session,
            job_id=self._lease.job_id,
            attempt_id=self._lease.attempt_id,
            step=message["step"],
            epoch=message["epoch"],
            path=f"{storage.job_key(self._lease.job_id)}/{message['name']}",
            files=message["files"],
            metrics=message["metrics"],
            best=message["best"],
        )
        data = {"id": row.id, "step": row.step, "epoch": row.epoch, "best": row.best}
        return NewEvent("checkpoint", data)


def remove_folders(keys: list[str]) -> None:
    """Rows go first, then files: a listed checkpoint always exists."""
    for key in keys:
        shutil.rmtree(storage.get_path(key), ignore_errors=True)
