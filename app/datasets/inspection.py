"""Starting the sandboxed child that reads an upload, and hearing what it has found."""

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.config import get_settings
from app.datasets.errors import (
    ArchiveUnsafe,
    DatasetInvalid,
    DatasetTooLarge,
    InsufficientStorage,
)
from app.errors import AppError, InternalError

log = logging.getLogger(__name__)
BASE_SECONDS = 300
BYTES_PER_SECOND = 2**20  # the slowest reading that is still waited for
PROBLEMS: dict[str, type[AppError]] = {
    kind.slug(): kind
    for kind in (ArchiveUnsafe, DatasetInvalid, DatasetTooLarge, InsufficientStorage)
}


def inspect_upload(folder: Path, filename: str, format: str | None) -> dict[str, Any]:
    """The format, rows and columns of `folder/original`; its table form is then beside it.

    Raises ArchiveUnsafe, DatasetInvalid, DatasetTooLarge or InsufficientStorage.
    """
    seconds = BASE_SECONDS + (folder / "original").stat().st_size // BYTES_PER_SECOND
    request = json.dumps({"filename": filename, "format": format})
    command = [sys.executable, "-P", "-m", "app.datasets.inspect"]
    process, lifeline = _start([*command, str(folder), str(seconds), request], folder)
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise DatasetTooLarge(f"Reading the file took more than {seconds} s.") from error
    finally:
        os.close(lifeline)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return _read_report(process.returncode, output, errors)


def _start(command: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The child lives as long as the pipe: it closes when this process ends, however it ends."""
    ours = Path(__file__).parents[2]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ours), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    limits = {"TRAINSMITH_MAX_ARCHIVE_FILES": str(get_settings().max_archive_files)}
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            command,
            stdin=reading,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={**environment, "HOME": str(folder), **limits},
            start_new_session=True,
        )
    except OSError:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    return process, writing


def _read_report(status: int, output: bytes, errors: bytes) -> dict[str, Any]:
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        raise DatasetTooLarge
    if status < 0:  # the file, or the lack of memory, has brought the reader down
        log.error("reading an upload was ended by signal %d", -status)
        raise DatasetInvalid("The file cannot be read.")
    if status != 0:
        log.error(
            "reading an upload ended with %d: %s", status, errors[:2000].decode(errors="replace")
        )
        raise InternalError
    report: dict[str, Any] = json.loads(output)
    if "problem" in report:
        raise PROBLEMS[report["problem"]](report["message"], report["errors"])
    return report
