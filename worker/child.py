"""The training process: from the fork to its last message."""

import errno
import json
import os
import resource
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import duckdb
import torch

from app import faults, linux
from app.specs import JobSpec
from app.specs.columns import Column
from worker import channel
from worker.channel import LineBuffer
from worker.engine.errors import DataError, NonFiniteLoss, TrainingError, UserError
from worker.engine.reporter import Point, SavedCheckpoint, Stop
from worker.engine.request import Request, Table
from worker.engine.run import run

REASONS: dict[type[TrainingError], str] = {
    UserError: "user_error",
    DataError: "data_error",
    NonFiniteLoss: "non_finite_loss",
}
OUT_OF_MEMORY_HINT = "Use a smaller batch_size or a smaller model."
OUT_OF_MEMORY_WORDS = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
NO_SPACE_HINT = "The disk of the worker is full: make room, then retry from the last checkpoint."


class ChannelReporter:
    """Sends what the engine reports to the supervisor; a thread listens for the order to stop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.stop: Stop | None = None
        threading.Thread(target=self._listen, name="orders", daemon=True).start()

    def _listen(self) -> None:
        lines = LineBuffer()
        while data := self._sock.recv(channel.CHUNK_BYTES):
            for line in lines.feed(data):
                self.stop = Stop(json.loads(line)["stop"])

    def send(self, kind: str, **fields: Any) -> None:
        channel.send(self._sock, {"kind": kind, **fields})

    def refuse(self, reason: str) -> None:
        self.stop = None
        self.send("refused", reason=reason)

    def phase(self, name: str) -> None:
        self.send("phase", phase=name)

    def progress(
        self, step: int, total_steps: int, epoch: float, eta_seconds: float | None
    ) -> None:
        self.send(
            "progress", step=step, total_steps=total_steps, epoch=epoch, eta_seconds=eta_seconds
        )

    def metrics(self, points: list[Point]) -> None:
        self.send("metrics", points=points)

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        self.send("checkpoint", **vars(saved))

    def event(self, kind: str, data: dict[str, Any]) -> None:
        self.send("event", type=kind, data=data)


def read_request(path: Path) -> Request:
    data = json.loads(path.read_text())
    return Request(
        job_id=data["job_id"],
        spec=JobSpec.model_validate_json(json.dumps(data["spec"])),
        dataset=_read_table(data["dataset"]),
        test_dataset=_read_table(data["test_dataset"]) if data["test_dataset"] else None,
        folder=Path(data["folder"]),
        resume=tuple(Path(folder) for folder in data["resume"]),
        threads=data["threads"],
    )


def _read_table(data: dict[str, Any]) -> Table:
    columns = tuple(Column.model_validate_json(json.dumps(column)) for column in data["columns"])
    return Table(path=Path(data["path"]), columns=columns, sha256=data["sha256"])


def describe_failure(error: Exception) -> dict[str, Any]:
    """The fields of a `failed` message. `retry`: another run may go better."""
    tail = "".join(traceback.format_exception(error))[-8000:]
    message = f"{type(error).__name__}: {error}"[:2000]
    if isinstance(error, TrainingError):
        reason = REASONS[type(error)]
        return {"reason": reason, "message": str(error), "hint": error.hint, "retry": False}
    if is_out_of_memory(error):
        return {
            "reason": "out_of_memory",
            "message": message,
            "hint": OUT_OF_MEMORY_HINT,
            "traceback": tail,
            "retry": False,
        }
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    return {
        "reason": "crashed",
        "message": message,
        "hint": NO_SPACE_HINT if full else "",
        "traceback": tail,
        "retry": isinstance(error, OSError),
    }


def is_out_of_memory(error: Exception) -> bool:
    """Of the machine or of a device; torch and DuckDB have no one class for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError | duckdb.OutOfMemoryException):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(w in str(error) for w in OUT_OF_MEMORY_WORDS)


def become_trainer(log: int) -> None:
    """Leave the warm server behind: own session, own output, first to go when memory runs out."""
    os.setsid()
    linux.die_with_parent()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.set_wakeup_fd(-1)
    Path("/proc/self/oom_score_adj").write_text("500")


def main(path: str, channel_handle: int, log: int) -> int:
    become_trainer(log)
    reporter = ChannelReporter(socket.socket(fileno=channel_handle))
    try:
        faults.reach("child.start")
        result = run(read_request(Path(path)), reporter)
        faults.reach("child.before_done")
    except Exception as error:  # whatever it is, the job's owner has to hear of it
        reporter.send("failed", **describe_failure(error))
    else:
        reporter.send("done", **vars(result))
    sys.stdout.flush()
    sys.stderr.flush()
    return 0
