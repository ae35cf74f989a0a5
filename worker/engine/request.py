"""What a training process is asked to do, and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.models import Task
from worker.engine.reporter import Stop


@dataclass(frozen=True)
class Table:
    """The table form of a dataset: a Parquet file and what is known of its columns."""

    path: Path
    columns: tuple[Column, ...]
    sha256: str  # of the file that was uploaded


INHERITED = "a0"  # the folder, beside those of the attempts, for checkpoints of another job


@dataclass(frozen=True)
class Request:
    """`spec` is resolved: nothing in it is left on auto but device and precision."""

    job_id: str
    spec: JobSpec
    dataset: Table
    test_dataset: Table | None
    folder: Path  # of this attempt, inside the folder of the job; made by whoever asks
    resume: tuple[Path, ...]  # checkpoint folders, newest first: the first intact one is used
    threads: int

    @property
    def task(self) -> Task:
        (task,) = self.spec.model.tasks()
        return task


@dataclass(frozen=True)
class Result:
    """`stopped` is None once training is complete; only then is there an evaluation."""

    stopped: Stop | None
    saved: bool = True  # whether the state of the last step is in a checkpoint
    evaluation: dict[str, Any] | None = None
