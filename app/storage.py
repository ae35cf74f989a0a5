"""Where blobs lie: one folder, addressed by relative keys that only the server makes."""

import logging
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from app.config import get_settings

log = logging.getLogger(__name__)


class UnsupportedStorage(Exception):
    """TRAINSMITH_STORAGE_URL must be a file:// URL."""


def get_root() -> Path:
    url = get_settings().storage_url
    if url is None:
        return get_settings().home / "blobs"
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise UnsupportedStorage(f"{UnsupportedStorage.__doc__} Got {parts.scheme!r}.")
    return Path(url2pathname(parts.path))


def get_path(key: str) -> Path:
    """The path of a blob. `key` is made by the server from ids and numbers, never from input."""
    root = get_root()
    path = root / key
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{key!r} leaves the blob store")
    return path


INHERITED = 0  # stands for an attempt: checkpoints that a retried job was given to start from


def dataset_key(dataset_id: str) -> str:
    return f"datasets/{dataset_id}"


def job_key(job_id: str) -> str:
    return f"jobs/{job_id}"


def attempt_key(job_id: str, attempt: int) -> str:
    return f"jobs/{job_id}/a{attempt}"


def checkpoint_key(job_id: str, attempt: int, step: int) -> str:
    return f"{attempt_key(job_id, attempt)}/s{step}"


EXPLANATIONS = "explanations"  # a folder of an attempt


def remove_folder(folder: Path) -> None:
    """What stays behind wastes space and nothing else: nothing lists it any more. The sweep
    tries again."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        pass
    except OSError as error:
        log.warning("%s was not removed: %s", folder, error)


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file inside `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
