"""Zip and tar files, read member by member: nothing is ever unpacked to the disk.

An archive is walked twice, once to see what it holds and once to read it. The first walk refuses
what could harm: names that lead out of the archive, links and devices, members that share their
bytes, and archives that unfold to far more than they weigh, in bytes or in files.
"""

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, cast

from app.config import get_settings
from app.datasets.staging import CHUNK_BYTES, Problem, Rejected, allowed_bytes

ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
GZIP_MAGIC = b"\x1f\x8b"
TAR_MAGIC = b"ustar"
TAR_MAGIC_AT = 257
TAR_BLOCK = 512
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_EMPTY = 10_000  # files without a byte: they cost their sender next to nothing
MAX_NAME = 1024
MAX_PEEKED = 100
LITTER = re.compile(r"(^|/)(__MACOSX/|\.|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)
# What the readers raise on bytes that are no archive, found by changing bytes at random.
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error),
    *(EOFError, UnicodeError, NotImplementedError),
)


@dataclass(frozen=True)
class Member:
    """A file of an archive. It can be opened until the walk goes on to the next one."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]


@dataclass(frozen=True)
class Entry:
    name: str
    size_bytes: int
    is_folder: bool
    is_file: bool
    open: Callable[[], IO[bytes]]


def find_kind(head: bytes) -> str | None:
    """zip or tar, by how the file starts; a tar may be compressed with gzip."""
    if head.startswith(ZIP_MAGIC):
        return "zip"
    return "tar" if peel(head)[TAR_MAGIC_AT:].startswith(TAR_MAGIC) else None


def peel(head: bytes) -> bytes:
    """What a file starts with inside its gzip, if it has one."""
    if not head.startswith(GZIP_MAGIC):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 4096)
    except zlib.error:
        return b""


def peek_names(path: Path) -> list[str]:
    """The first names in an archive, to guess what it is for; none where that cannot be told."""
    try:
        with path.open("rb") as file:
            kind = find_kind(file.read(4096))
        if kind is None:
            return []
        walk = _walk_zip(path) if kind == "zip" else _walk_tar(path)
        first = [clean_name(entry.name) for entry in islice(walk, MAX_PEEKED) if entry.is_file]
    except (*DAMAGE, OSError, ValueError):
        return []
    return [name for name in first if not LITTER.search(name)]


def list_members(path: Path) -> list[Member]:
    """Raises Rejected where the archive is damaged or not safe to read."""
    with path.open("rb") as file:
        kind = find_kind(file.read(4096))
    if kind is None:
        raise Rejected("This is neither a zip nor a tar file.")
    return list(_check(_read_entries(path, kind), allowed_bytes(path.stat().st_size)))


def read_members(path: Path) -> Iterator[Member]:
    """The same files again, this time to be opened."""
    with path.open("rb") as file:
        kind = find_kind(file.read(4096))
    for entry in _read_entries(path, kind or "zip"):
        name = clean_name(entry.name)
        if entry.is_file and not LITTER.search(name):
            yield Member(name, entry.size_bytes, entry.open)


@contextmanager
def open_member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """One file of an archive whose first walk has bounded its size. Raises Rejected."""
    for member in read_members(path):
        if member.name == name:
            with watch_damage(name), member.open() as file:
                yield file
            return
    raise Rejected("The archive is damaged or cut short.")


@contextmanager
def watch_damage(name: str | None = None) -> Iterator[None]:
    """Turn what the readers of archives raise into one refusal."""
    try:
        yield
    except DAMAGE as error:
        problem = [Problem("its bytes are damaged", "damaged", member=name)] if name else []
        raise Rejected("The archive is damaged or cut short.", *problem) from error


def clean_name(name: str) -> str:
    """With / between its parts, also where Windows has packed it, and without empty ones."""
    parts = name.encode(errors="replace").decode().replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _read_entries(path: Path, kind: str) -> Iterator[Entry]:
    with watch_damage():
        yield from _walk_zip(path) if kind == "zip" else _walk_tar(path)


# ---------------------------------------------------------------- the two kinds


def _walk_zip(path: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        _refuse_shared_bytes(infos)
        for info in infos:
            _refuse_unreadable(info)
            is_folder = info.filename.endswith("/")
            mode = stat.S_IFMT(info.external_attr >> 16)
            yield Entry(
                info.orig_filename,
                info.file_size,
                is_folder=is_folder,
                is_file=not is_folder and mode in (0, stat.S_IFREG),
                open=cast(Callable[[], IO[bytes]], partial(archive.open, info)),
            )


def _refuse_shared_bytes(infos: list[zipfile.ZipInfo]) -> None:
    """Members that overlap unfold the same bytes again and again."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < 0:
            raise zipfile.BadZipFile("starts before the file")
        if info.header_offset < end:
            raise unsafe("two members share their bytes", info.orig_filename)
        end = info.header_offset + max(1, info.compress_size)


def _refuse_unreadable(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise Rejected("The archive is encrypted. Pack it without a password.")
    if info.compress_type not in COMPRESSIONS:
        raise Rejected("The archive is not compressed with deflate, the usual way. Pack it again.")


def _walk_tar(path: Path) -> Iterator[Entry]:
    with path.open("rb") as raw:
        packed = raw.read(2) == GZIP_MAGIC
        raw.seek(0)
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                yield Entry(
                    info.name,
                    info.size,
                    is_folder=info.isdir(),
                    is_file=info.isfile() and not info.issparse(),
                    open=cast(Callable[[], IO[bytes]], partial(archive.extractfile, info)),
                )
            _refuse_cut_tar(file)


def _refuse_cut_tar(file: IO[bytes]) -> None:
    """A tar ends in two blocks of zeros, and the walk has read one of them. Without this, a file
    cut between two members would pass for a whole one."""
    last = b""
    while chunk := file.read(CHUNK_BYTES):
        last = (last + chunk)[-TAR_BLOCK:]
    if not last or last.strip(b"\0"):
        raise tarfile.ReadError("no end")


# ---------------------------------------------------------------- what is not safe


def _check(entries: Iterator[Entry], max_bytes: int) -> Iterator[Member]:
    max_files = get_settings().max_archive_files
    empty = size = 0
    for count, entry in enumerate(entries, 1):
        empty += entry.is_file and entry.size_bytes == 0
        size += entry.size_bytes
        if count > max_files:
            raise unsafe(f"it holds more than {max_files} files (TRAINSMITH_MAX_ARCHIVE_FILES)")
        if empty > MAX_EMPTY:
            raise unsafe(f"more than {MAX_EMPTY} of its files are empty")
        if size > max_bytes:
            raise unsafe(f"it unfolds to more than {max_bytes} bytes")
        _refuse_entry(entry)
        name = clean_name(entry.name)
        if entry.is_file and not LITTER.search(name):
            yield Member(name, entry.size_bytes, entry.open)


def _refuse_entry(entry: Entry) -> None:
    name = entry.name.replace("\\", "/")
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        raise unsafe("a name is absolute", entry.name)
    if ".." in name.split("/"):
        raise unsafe("a name leads out of the archive", entry.name)
    if "\0" in name or len(name) > MAX_NAME:
        raise unsafe("a name has a NUL character or no end", entry.name)
    if not entry.is_file and not entry.is_folder:
        raise unsafe("it holds a link or a device", entry.name)


def unsafe(reason: str, name: str | None = None) -> Rejected:
    problems = [Problem(reason, "unsafe", member=name)] if name else []
    return Rejected(f"The archive is not safe to read: {reason}.", *problems, kind="archive-unsafe")
