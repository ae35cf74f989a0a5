"""A thread that commits checkpoints, so that training does not wait for a disk."""

import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from app import faults
from worker.engine.checkpoint import name_checkpoint, write_checkpoint
from worker.engine.reporter import Reporter, SavedCheckpoint
from worker.engine.snapshot import Snapshot


@dataclass(frozen=True)
class Written:
    """What came of one order."""

    snapshot: Snapshot
    best: bool
    result: SavedCheckpoint | Exception


class CheckpointWriter:
    """Orders are carried out one after the other. All methods are for the training thread, which
    also makes every call of the reporter: a checkpoint is reported after the points before it.
    """

    def __init__(self, folder: Path, reporter: Reporter) -> None:
        self.folder, self.reporter = folder, reporter
        self.orders: SimpleQueue[tuple[Snapshot, bool] | None] = SimpleQueue()
        self.written: deque[Written] = deque()
        self.open_orders = 0
        self.snapshots: list[Snapshot] = []
        self.thread: threading.Thread | None = None

    def borrow(self, keep: Snapshot | None) -> Snapshot:
        """Buffers that are neither being written nor `keep`."""
        for snapshot in self.snapshots:
            if not snapshot.busy and snapshot is not keep:
                return snapshot
        self.snapshots.append(Snapshot())
        return self.snapshots[-1]

    def submit(self, snapshot: Snapshot, best: bool) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
            self.thread.start()
        snapshot.busy = True
        self.open_orders += 1
        self.orders.put((snapshot, best))

    def _work(self) -> None:
        while (order := self.orders.get()) is not None:
            snapshot, best = order
            try:
                result: SavedCheckpoint | Exception = self._write(snapshot, best)
            except Exception as error:  # reported by the training thread, which decides
                result = error
            self.written.append(Written(snapshot, best, result))

    def _write(self, snapshot: Snapshot, best: bool) -> SavedCheckpoint:
        facts = snapshot.facts
        folder = self.folder / f"s{facts['step']}"
        files = write_checkpoint(folder, snapshot)
        return SavedCheckpoint(
            name_checkpoint(folder), facts["step"], facts["epoch"], files, facts["scores"], best
        )

    def collect(self) -> list[Written]:
        """Report what was committed since the last call."""
        done = []
        while self.written:
            written = self.written.popleft()
            written.snapshot.busy = False
            self.open_orders -= 1
            if isinstance(written.result, SavedCheckpoint):
                faults.reach("checkpoint.before_report")
                self.reporter.checkpoint(written.result)
            done.append(written)
        return done

    def drain(self) -> None:
        """Wait until every order is carried out, and end the thread."""
        if self.thread is not None:
            self.orders.put(None)
            self.thread.join()
            self.thread = None
