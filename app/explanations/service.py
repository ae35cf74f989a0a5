"""The files that explain predictions of a trained model. The evaluation lists them; they lie in the
folder of the job's last attempt, and go with the job."""

from pathlib import Path
from typing import Any

from app.errors import NotFound
from app.jobs.tables import Job
from app.storage import EXPLANATIONS, attempt_key, get_path

File = dict[str, Any]  # name, media_type, sha256, size_bytes


def list_files(job: Job) -> list[File]:
    """None until the job has succeeded."""
    listed = (job.evaluation or {}).get("explanations") or []
    return [{"type": each["type"], **file} for each in listed for file in each["files"]]


def find_file(job: Job, name: str) -> tuple[File, Path]:
    """Raises NotFound for a name that is not listed: none is ever taken for a path."""
    for file in list_files(job):
        if file["name"] == name:
            return file, locate(job.id, job.attempt, file)
    raise NotFound("This job has no such explanation.")


def locate(job_id: str, attempt: int, file: File) -> Path:
    name: str = file["name"]
    return get_path(attempt_key(job_id, attempt)) / EXPLANATIONS / name
