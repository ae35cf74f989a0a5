"""Dataset formats. `app/datasets/formats/<format>.py` reads the format that `format` names.

Each module has `SUFFIXES`, `looks_like(head, names)` and
`read(connection, original, staged) -> Staged`.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast, get_args

from duckdb import DuckDBPyConnection

from app.datasets.staging import Staged
from app.specs.data import DatasetFormat

HEAD_BYTES = 4096


class Format(Protocol):
    SUFFIXES: tuple[str, ...]

    def looks_like(self, head: bytes, names: Sequence[str]) -> bool:
        """Whether a file that starts with `head` is surely of this format.

        `names` are the first files that it holds, if it is an archive.
        """

    def read(self, connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
        """Write the rows of `original` to `staged`. Raises `Rejected`."""


def load_format(name: DatasetFormat) -> Format:
    return cast(Format, import_module(f"{__name__}.{name}"))


def guess_format(filename: str, head: bytes, names: Sequence[str] = ()) -> DatasetFormat:
    """By content where that is sure, then by suffix, then CSV. `names` are files of an archive."""
    formats: tuple[DatasetFormat, ...] = get_args(DatasetFormat)
    by_content = [name for name in formats if load_format(name).looks_like(head, names)]
    lower = filename.lower()
    by_suffix = [name for name in formats if lower.endswith(load_format(name).SUFFIXES)]
    return [*by_content, *by_suffix, formats[0]][0]
