"""IDX, as MNIST comes: a zip or tar of one file of pictures and one of labels, or of such a pair
for training and one for testing. Each file may be compressed with gzip.

The pictures (unsigned bytes of three or four dimensions) become the column `image`, the labels (one
dimension) `label`; where there are pairs, `split` says which is which.
"""

import re
import struct
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from duckdb import DuckDBPyConnection

from app.datasets.archive import (
    GZIP_MAGIC,
    Member,
    find_kind,
    list_members,
    open_member,
    peel,
    read_members,
    unsafe,
    watch_damage,
)
from app.datasets.arrays import Array, find_role, refuse_array, skip
from app.datasets.stacks import WORDS, Stack, refuse_uneven, write_stacks
from app.datasets.staging import Problem, Rejected, Staged, allowed_bytes

SUFFIXES = (".idx", ".idx.gz", "-ubyte", "-ubyte.gz")
NAME = re.compile(r"idx[1-4][-.]ubyte|\.idx[1-4]?(\.gz)?$", re.IGNORECASE)
TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
MAX_DIMENSIONS = 4
HEAD_BYTES = 4096
PART = re.compile("(?P<test>t10k|test)|(?P<validation>valid|val)|(?P<train>train)", re.IGNORECASE)
TWO = "Pack the file of pictures and that of labels into one zip."


def looks_like(head: bytes, names: Sequence[str]) -> bool:
    return _read_header(peel(head)) is not None or any(NAME.search(name) for name in names)


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    with original.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if find_kind(head) is None:
        raise Rejected(f"This is one file of an IDX dataset. {TWO}")
    list_members(original)
    limit = allowed_bytes(original.stat().st_size)
    arrays = [_open_array(original, member, limit) for member in read_members(original)]
    pairs = _find_pairs(arrays)
    parts = [part for part in WORDS if part in pairs]
    images, labels = zip(*(pairs[part] for part in parts), strict=True)
    stacks = [Stack("image", images), Stack("label", labels)]
    refuse_uneven(stacks)
    return write_stacks(connection, staged, stacks, parts if len(parts) > 1 else None)


# ---------------------------------------------------------------- one file


def _open_array(original: Path, member: Member, limit: int) -> Array:
    with watch_damage(member.name), member.open() as file:
        raw = file.read(HEAD_BYTES)
    found = _read_header(peel(raw))
    if found is None:
        problem = Problem("not an IDX file", "array", member=member.name)
        raise Rejected("The archive holds a file that is not IDX.", problem)
    dtype, shape = found
    opened = partial(open_member, original, member.name)
    start, gzipped = 4 + 4 * len(shape), raw.startswith(GZIP_MAGIC)
    array = Array(member.name, dtype, shape, lambda: skip(opened(), start, gzipped=gzipped))
    if array.size_bytes > limit:
        raise unsafe("it unfolds to far more than its own size", member.name)
    return array


def _read_header(head: bytes) -> tuple[np.dtype, tuple[int, ...]] | None:
    """Two zero bytes, the type, the number of dimensions, and each as four bytes."""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in TYPES:
        return None
    count = head[3]
    if not 1 <= count <= MAX_DIMENSIONS or len(head) < 4 + 4 * count:
        return None
    return np.dtype(TYPES[head[2]]), struct.unpack_from(f">{count}I", head, 4)


# ---------------------------------------------------------------- pairs


def _find_pairs(arrays: Sequence[Array]) -> dict[str, tuple[Array, Array]]:
    """Pictures and labels of each part. Raises Rejected."""
    parts: dict[str, list[Array]] = defaultdict(list)
    for array in arrays:
        parts[_find_part(array.name) if len(arrays) > 2 else "train"].append(array)
    if not parts:
        raise Rejected("The archive is empty.")
    return {part: _find_pair(part, own) for part, own in parts.items()}


def _find_part(name: str) -> str:
    match = PART.search(name)
    return str(match.lastgroup) if match else "train"


def _find_pair(part: str, arrays: Sequence[Array]) -> tuple[Array, Array]:
    for array in arrays:
        if len(array.shape) == 2:
            raise refuse_array(array, "it has two dimensions: neither pictures nor labels")
    images = [array for array in arrays if find_role(array) == "image"]
    labels = [array for array in arrays if find_role(array) == "column"]
    if len(images) != 1 or len(labels) != 1 or len(arrays) != 2:
        found = [Problem(f"its shape is {a.shape}", "array", member=a.name) for a in arrays]
        raise Rejected(
            f"One file of pictures and one of labels are needed, and here are {len(images)} and"
            f" {len(labels)} for {part}. {TWO}",
            *found,
        )
    return images[0], labels[0]
