"""The files of explanations: all of an attempt lie in its folder `explanations`, or none."""

from pathlib import Path
from typing import Any

from app.storage import EXPLANATIONS
from worker.engine.checkpoint import describe, write_folder

MEDIA_TYPES = {".json": "application/json", ".png": "image/png"}


def describe_file(name: str, content: bytes) -> dict[str, Any]:
    media_type = MEDIA_TYPES[Path(name).suffix]
    return {"name": name, "media_type": media_type, **describe(content)}


def write_explanations(attempt: Path, files: dict[str, bytes]) -> None:
    """Durably. Where the evaluation of an attempt is made again, it makes the same files."""
    folder = attempt / EXPLANATIONS
    if files and not folder.exists():
        write_folder(folder, files)


def adopt_explanations(attempt: Path, earlier: Path, evaluation: dict[str, Any]) -> bool:
    """Give an attempt the files of an earlier one whose evaluation it takes over. False: they are
    gone or damaged."""
    listed = [file for each in evaluation.get("explanations") or () for file in each["files"]]
    try:
        names = [each["name"] for each in listed]
        files = {name: (earlier / EXPLANATIONS / name).read_bytes() for name in names}
    except FileNotFoundError:
        return False
    if any(describe_file(each["name"], files[each["name"]]) != each for each in listed):
        return False
    write_explanations(attempt, files)
    return True
