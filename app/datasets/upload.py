"""Receiving a file: from the request to the disk, one piece at a time.

FastAPI would parse the body before it looks at the key, into the system's temporary folder; and
hold the file twice. Here the body is read last, straight into the blob store.
"""

import base64
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from app import storage
from app.config import get_settings
from app.datasets.errors import DigestMismatch, InsufficientStorage
from app.errors import (
    FieldError,
    MalformedBody,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationError,
    field_error,
)

BATCH_BYTES = 2**20
ENVELOPE_BYTES = 2**20  # what the other fields and the boundaries may take
MAX_FIELD_BYTES = 4096
MAX_PARTS = 16
RESERVED_BYTES = 256 * 2**20  # of disk, for everything that is not this upload
FIELDS = ("name", "format", "sha256")
SHA256 = re.compile(r"sha-256\s*=\s*:([A-Za-z0-9+/]{43}=):", re.IGNORECASE)


class Body(Protocol):
    @property
    def headers(self) -> Headers: ...
    def stream(self) -> AsyncIterator[bytes]: ...


@dataclass
class Upload:
    """A file that has arrived whole, and the fields beside it."""

    filename: str = ""
    sha256: str = ""
    size_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- the folder


@contextmanager
def open_folder(name: str) -> Iterator[Path]:
    """A folder for one upload, gone at the end unless it has been moved away.

    The lock tells the folders of running uploads from those a killed process has left.
    """
    uploads = storage.get_path("uploads")
    uploads.mkdir(parents=True, exist_ok=True)
    sweep(uploads)
    folder = uploads / name
    folder.mkdir(mode=0o700)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(uploads: Path) -> None:
    """Remove the folders that nobody holds."""
    for folder in uploads.iterdir():
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if any(folder.iterdir()):  # an empty one may be about to be locked
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass
        finally:
            os.close(handle)


# ---------------------------------------------------------------- the body


async def receive(request: Body, folder: Path) -> Upload:
    """Write the part `file` to `folder/original` and fsync it. Memory stays flat."""
    boundary = read_boundary(request.headers)
    refuse_by_length(request.headers)
    form = Form(boundary, folder / "original", read_digests(request.headers))
    batch: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            batch.append(chunk)
            size += len(chunk)
            if size >= BATCH_BYTES:
                await run_in_threadpool(form.feed, batch)
                batch, size = [], 0
        await run_in_threadpool(form.feed, batch)
        return await run_in_threadpool(form.finish)
    except ClientDisconnect as error:
        raise MalformedBody("The body ended early.") from error
    except FormParserError as error:
        raise MalformedBody("The body is not valid multipart/form-data.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InsufficientStorage from error
        raise
    finally:
        form.close()


def read_boundary(headers: Headers) -> bytes:
    kind, options = parse_options_header(headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise UnsupportedMediaType("Send multipart/form-data with a part named file.")
    if not options.get(b"boundary"):
        raise MalformedBody("The Content-Type names no boundary.")
    return options[b"boundary"]


def refuse_by_length(headers: Headers) -> None:
    """Answer before the body has been sent where its announced length is enough to tell."""
    length = headers.get("content-length", "")
    announced = int(length) if length.isdecimal() else 0
    if announced > get_settings().max_upload_bytes + ENVELOPE_BYTES:
        raise too_large()
    free = shutil.disk_usage(storage.get_root()).free
    if free < RESERVED_BYTES + 2 * announced:  # the file and its table form
        raise InsufficientStorage


def too_large() -> PayloadTooLarge:
    limit = get_settings().max_upload_bytes
    return PayloadTooLarge(f"The file is larger than {limit} bytes (TRAINSMITH_MAX_UPLOAD_BYTES).")


def read_digests(headers: Headers) -> list[str]:
    """The sha256 of Repr-Digest and Content-Digest (RFC 9530), in hex."""
    given = [headers.get(name, "") for name in ("repr-digest", "content-digest")]
    return [base64.b64decode(found[1]).hex() for text in given if (found := SHA256.search(text))]


class Form:
    """A multipart body of one file and a few short fields, taken in pieces."""

    def __init__(self, boundary: bytes, path: Path, digests: list[str]) -> None:
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_part,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._file = path.open("xb")
        self._digests = digests
        self._body_hash = hashlib.sha256() if digests else None
        self._file_hash = hashlib.sha256()
        self._max_bytes = get_settings().max_upload_bytes
        self._upload = Upload()
        self._errors: list[FieldError] = []
        self._parts = 0
        self._has_file = False
        self._complete = False
        self._begin_part()

    def feed(self, chunks: list[bytes]) -> None:
        for chunk in chunks:
            if self._body_hash:
                self._body_hash.update(chunk)
            self._parser.write(chunk)

    def finish(self) -> Upload:
        if not self._complete:
            raise MalformedBody("The body is not whole: its last boundary is missing.")
        if not self._has_file:
            self._errors.append(field_error(["file"], "Field required", "missing"))
        if self._errors:
            raise ValidationError(errors=self._errors)
        self._upload.sha256 = self._file_hash.hexdigest()
        self._check_digests()
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._upload

    def close(self) -> None:
        self._file.close()

    def _check_digests(self) -> None:
        """A digest in the header covers the body; many clients mean the file, which is as good."""
        own = {self._upload.sha256}
        if self._body_hash:
            own.add(self._body_hash.hexdigest())
        given = [
            self._upload.fields[key].lower() for key in ("sha256",) if key in self._upload.fields
        ]
        if not own.issuperset([*self._digests, *given]):
            raise DigestMismatch

    # The parser calls these.

    def _begin_part(self) -> None:
        self._headers: dict[str, bytes] = {}
        self._header_name = self._header_value = b""
        self._part: str | None = None
        self._data = bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.decode("latin-1").lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _open_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedBody(f"The body has more than {MAX_PARTS} parts.")
        kind, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        if kind != b"form-data" or not name:
            raise MalformedBody("A part of the body has no name.")
        self._part = name
        if name == "file":
            self._open_file(options.get(b"filename", b"").decode(errors="replace"))
        elif name not in FIELDS:
            self._errors.append(field_error([name[:64]], "unknown field", "extra_forbidden"))
        elif name in self._upload.fields:
            self._errors.append(field_error([name], "given twice", "repeated"))

    def _open_file(self, filename: str) -> None:
        if self._has_file:
            raise ValidationError(errors=[field_error(["file"], "given twice", "repeated")])
        self._has_file = True
        self._upload.filename = filename
        self._digests += read_digests(
            Headers(raw=[(k.encode("latin-1"), v) for k, v in self._headers.items()])
        )

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part != "file":
            self._data += data[start:end]
            if len(self._data) > MAX_FIELD_BYTES:
                raise MalformedBody(f"A field is longer than {MAX_FIELD_BYTES} bytes.")
            return
        self._upload.size_bytes += end - start
        if self._upload.size_bytes > self._max_bytes:
            raise too_large()
        piece = memoryview(data)[start:end]
        self._file_hash.update(piece)
        self._file.write(piece)

    def _end_part(self) -> None:
        if self._part in FIELDS:
            self._upload.fields[self._part] = self._data.decode(errors="replace")

    def _end(self) -> None:
        self._complete = True
