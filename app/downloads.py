"""Sending files: validators, ranges and digests (RFC 9110, RFC 9530).

Starlette streams and cuts ranges. What it lacks is here: 304, 412, problem+json for 416, an entity
tag that is the digest, and a file that may be unlinked while it is being sent.
"""

import base64
import os
import re
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import Request, Response
from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from app.errors import AppError

CHUNK_BYTES = 2**20
ONE_RANGE = re.compile(r"bytes=\s*(?:(\d{1,20})-(\d{0,40})|-(\d{1,20}))\s*", re.IGNORECASE)


class PreconditionFailed(AppError):
    """The file is not the one that If-Match names."""

    status_code = 412


class RangeNotSatisfiable(AppError):
    """The file ends before this range begins."""

    status_code = 416

    def __init__(self, size: int) -> None:
        super().__init__()
        self.headers = {"Content-Range": f"bytes */{size}"}  # type: ignore[misc]


class Download(FileResponse):
    """Sends an open file, by its descriptor: it stays whole when its name is gone."""

    chunk_size = CHUNK_BYTES

    def __init__(
        self, file: BinaryIO, ranged: bool, status_code: int = 200, **options: Any
    ) -> None:
        self._file = file
        self._ranged = ranged
        path = f"/proc/self/fd/{file.fileno()}"
        super().__init__(path, status_code, stat_result=os.fstat(file.fileno()), **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._ranged:
            kept = [header for header in scope["headers"] if header[0] != b"range"]
            scope = {**scope, "headers": kept}
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()


def send_file(
    request: Request,
    file: BinaryIO,
    *,
    sha256: str,
    filename: str,
    media_type: str = "application/octet-stream",
) -> Response:
    """Takes over `file`, whose bytes have the digest `sha256` (hex)."""
    tag = f'"{sha256}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Content-Disposition": attach(filename),
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
    }
    try:
        refusal = check_conditions(request, tag, headers)
        if refusal is None:
            size = os.fstat(file.fileno()).st_size
            ranged = wants_range(request, tag, size)
            return Download(file, ranged, headers=headers, media_type=media_type)
    except BaseException:
        file.close()
        raise
    file.close()
    return refusal


def check_conditions(request: Request, tag: str, headers: dict[str, str]) -> Response | None:
    """The answer that needs no body, if there is one."""
    match = request.headers.get("if-match")
    if match is not None and not _names(match, tag, weak=False):
        raise PreconditionFailed
    none_match = request.headers.get("if-none-match")
    if none_match is not None and _names(none_match, tag, weak=True):
        kept = {name: headers[name] for name in ("ETag", "Cache-Control")}
        return Response(status_code=304, headers=kept)
    return None


def _names(listed: str, tag: str, weak: bool) -> bool:
    tags = [part.strip() for part in listed.split(",")]
    return "*" in tags or tag in tags or (weak and f"W/{tag}" in tags)


def wants_range(request: Request, tag: str, size: int) -> bool:
    """Whether to send one part. Other units, several ranges and nonsense are ignored (RFC 9110)."""
    given = request.headers.get("range")
    condition = request.headers.get("if-range")
    found = ONE_RANGE.fullmatch(given or "")
    if found is None or (condition is not None and condition != tag):
        return False
    first, last, suffix = found.groups()
    if first is not None and last and int(last) < int(first):
        return False
    if (int(first) >= size) if first is not None else (int(suffix) == 0 or size == 0):
        raise RangeNotSatisfiable(size)
    return True


def attach(filename: str) -> str:
    """Content-Disposition (RFC 6266): an ASCII name for all, the true one for who can read it."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"
