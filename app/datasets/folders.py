"""What the folders of an archive say about its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from app.datasets.staging import Problem, Rejected

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Places:
    """The class of each picture, and the part of the data where folders name those."""

    labels: dict[str, str]
    parts: dict[str, str] | None


def find_places(names: Sequence[str]) -> Places:
    """Of `class/picture` or `train/class/picture`, below whatever folders all have in common.

    Raises Rejected with every picture that lies elsewhere.
    """
    paths = dict(
        zip(names, strip_common([PurePosixPath(name).parts for name in names]), strict=True)
    )
    divided = _is_divided(list(paths.values()))
    depth = 3 if divided else 2
    wrong = [name for name, parts in paths.items() if len(parts) != depth]
    if wrong:
        shape = "train/class/picture.png" if divided else "class/picture.png"
        raise Rejected(
            f"Pictures must lie in one folder for each class, as in {shape}, or beside a table"
            f" that names them. {len(wrong)} do not.",
            *(Problem(f"it does not lie as {shape}", "place", member=name) for name in wrong),
        )
    labels = {name: parts[-2] for name, parts in paths.items()}
    if not divided:
        return Places(labels, None)
    return Places(labels, {name: PARTS[parts[0].lower()] for name, parts in paths.items()})


def strip_common(paths: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Without the folders around everything; the innermost one stays: it may be a class."""
    depth = 0
    while all(len(parts) >= depth + 3 for parts in paths) and (
        len({parts[depth] for parts in paths}) == 1
    ):
        depth += 1
    return [parts[depth:] for parts in paths]


def _is_divided(paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether the outer folders are parts of the data rather than classes."""
    outer = {parts[0].lower() for parts in paths}
    return outer <= PARTS.keys() and all(len(parts) > 2 for parts in paths)
