"""NumPy's archive of arrays. Each array is a column; its first dimension counts the rows.

1-D: a column of numbers, text, booleans or dates. uint8 of three or four dimensions: pictures.
Other numbers of two or three dimensions: sequences. Arrays whose names begin or end with train,
val, validation or test (`x_train`, `test_images`) are stacked, and `split` says which is which.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from duckdb import DuckDBPyConnection

from app.datasets.archive import Member, list_members, open_member, read_members, watch_damage
from app.datasets.arrays import Array, refuse_array, skip
from app.datasets.folders import PARTS
from app.datasets.stacks import WORDS, Stack, refuse_uneven, write_stacks
from app.datasets.staging import Problem, Rejected, Staged

SUFFIXES = (".npz",)
NPY = ".npy"
MAX_ARRAYS = 1000
WORD = "|".join(PARTS)
NAME = re.compile(rf"(?P<before>{WORD})_(?P<rest>.+)|(?P<bare>.+)_(?P<after>{WORD})", re.IGNORECASE)
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def looks_like(_head: bytes, names: Sequence[str]) -> bool:
    return bool(names) and all(name.endswith(NPY) for name in names)


def read(connection: DuckDBPyConnection, original: Path, staged: Path) -> Staged:
    members = list_members(original)
    _refuse_others(members)
    arrays = [_open_array(original, member) for member in read_members(original)]
    stacks, parts = _find_stacks(arrays)
    return write_stacks(connection, staged, stacks, parts)


def _refuse_others(members: Sequence[Member]) -> None:
    others = [member.name for member in members if not member.name.endswith(NPY)]
    if others:
        found = [Problem("not a NumPy array", "array", member=name) for name in others]
        raise Rejected("An .npz file holds .npy files alone.", *found)
    if not 0 < len(members) <= MAX_ARRAYS:
        raise Rejected(f"There are {len(members)} arrays; 1 to {MAX_ARRAYS} can be columns.")


# ---------------------------------------------------------------- one array


def _open_array(original: Path, member: Member) -> Array:
    """Its header is read, and nothing of its rows."""
    name = member.name.removesuffix(NPY)
    with watch_damage(member.name), member.open() as file:
        shape, fortran, dtype = _read_header(file, member.name)
        start = file.tell()
    opened = partial(open_member, original, member.name)
    array = Array(name, dtype, shape, lambda: skip(opened(), start), fortran)
    if dtype.hasobject:
        raise refuse_array(array, "it holds Python objects, which run code when they are read")
    if not shape:
        raise refuse_array(array, "it is one value, without rows")
    if start + array.size_bytes != member.size_bytes:
        raise refuse_array(array, "its size is not what its header says")
    return array


def _read_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        return HEADERS[version](file)
    except (ValueError, KeyError, SyntaxError, TypeError, RecursionError) as error:
        problem = Problem("its header cannot be read", "array", member=name)
        raise Rejected("A file of the archive is not a NumPy array.", problem) from error


# ---------------------------------------------------------------- columns and parts


def _find_stacks(arrays: Sequence[Array]) -> tuple[list[Stack], list[str] | None]:
    """Columns in the order of the file, and their parts, if there are several, in that of WORDS."""
    found: dict[str, dict[str, Array]] = defaultdict(dict)
    for array in arrays:
        name, part = _divide(array.name)
        found[name][part] = array
    parts = {part for columns in found.values() for part in columns}
    ordered = [part for part in WORDS if part in parts]
    distinct = sum(map(len, found.values())) == len(arrays)
    if distinct and len(ordered) > 1 and all(own.keys() == parts for own in found.values()):
        stacks = [Stack(name, [own[part] for part in ordered]) for name, own in found.items()]
    else:
        stacks, ordered = [Stack(array.name, [array]) for array in arrays], []
    refuse_uneven(stacks)
    return stacks, ordered or None


def _divide(name: str) -> tuple[str, str]:
    match = NAME.fullmatch(name)
    if match is None:
        return name, ""
    part = PARTS[(match["before"] or match["after"]).lower()]
    return match["rest"] or match["bare"], part
