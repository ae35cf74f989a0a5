"""Downloads that go on where they stopped and are never half there."""

import base64
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2

from client.datasets import hash_file
from client.errors import ApiError, ConnectionFailed, DigestMismatch
from client.http import MAX_TRIES, Http, Params, backoff_seconds, may_pass

READ_SECONDS = 60.0
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
REPR_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")
RANGE_NOT_SATISFIABLE = 416  # there is nothing left to send


@dataclass(frozen=True)
class Part:
    """A file that is still arriving, named after the digest that it will have."""

    path: Path
    etag: str
    sha256: str

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


class Download:
    def __init__(self, http: Http, url: str, params: Params, target: Path) -> None:
        self._http = http
        self._url = url
        self._params = params
        self._target = target
        self._part: Part | None = None

    def run(self) -> str:
        """Returns the verified sha256. Raises DigestMismatch, ApiError and ConnectionFailed."""
        failures = 0
        while True:
            before = self._received()
            try:
                if self._receive():
                    return self._commit()
                continue
            except (ConnectionFailed, ApiError) as error:
                if before and getattr(error, "status", None) == RANGE_NOT_SATISFIABLE:
                    return self._commit()
                failures = 1 if self._received() > before else failures + 1
                if not may_pass(error) or failures >= MAX_TRIES:
                    raise
            time.sleep(backoff_seconds(failures))

    def _received(self) -> int:
        return self._part.size() if self._part else 0

    def _receive(self) -> bool:
        """One request. False: an earlier call has left a beginning, so ask for the rest only."""
        headers = {"Accept-Encoding": "identity"}
        size = self._received()
        if self._part and size:
            headers |= {"Range": f"bytes={size}-", "If-Range": self._part.etag}
        with self._http.stream(self._url, self._params, headers, READ_SECONDS) as response:
            goes_on = response.status_code == httpx2.codes.PARTIAL_CONTENT
            if not goes_on:
                is_first = self._part is None
                self._part = read_announcement(response, self._target)
                if is_first and self._part.size():
                    return False
            assert self._part is not None  # only a request with a Range is answered 206
            with self._part.path.open("ab" if goes_on else "wb") as file:
                for chunk in response.iter_raw():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        return True

    def _commit(self) -> str:
        part = self._part
        assert part is not None
        if hash_file(part.path) != part.sha256:
            part.path.unlink()
            raise DigestMismatch(f"{self._target.name} arrived damaged and was dropped: try again")
        os.replace(part.path, self._target)
        return part.sha256


def read_announcement(response: httpx2.Response, target: Path) -> Part:
    """Which bytes the server is about to send. Raises DigestMismatch if it does not say."""
    etag = response.headers.get("ETag", "")
    digest = REPR_DIGEST.search(response.headers.get("Repr-Digest", ""))
    if digest:
        sha256 = base64.b64decode(digest[1]).hex()
    elif match := SHA256_HEX.fullmatch(etag.strip('"')):
        sha256 = match[0]
    else:
        raise DigestMismatch("the server announced no sha256 for this file")
    return Part(target.with_name(f".{target.name}.{sha256[:16]}.part"), etag, sha256)
