import base64
import hashlib
from pathlib import Path

import pytest

from client import ApiError, ConnectionFailed, DigestMismatch, Trainsmith
from tests.client.conftest import Exchange, ScriptedServer, Step, answer

BODY = bytes(range(256)) * 400
SHA256 = hashlib.sha256(BODY)
ETAG = f'"{SHA256.hexdigest()}"'
HEADERS = {
    "ETag": ETAG,
    "Repr-Digest": f"sha-256=:{base64.b64encode(SHA256.digest()).decode()}:",
    "Accept-Ranges": "bytes",
}


def serve(exchange: Exchange) -> None:
    """A correct server of BODY: Range is honoured while If-Range matches."""
    wanted = exchange.headers.get("Range")
    if wanted is None or exchange.headers.get("If-Range") != ETAG:
        return exchange.answer(200, BODY, HEADERS)
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= len(BODY):
        return exchange.answer(416, b"", {"Content-Range": f"bytes */{len(BODY)}"})
    spread = {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"}
    return exchange.answer(206, BODY[start:], {**HEADERS, **spread})


def break_after(count: int) -> Step:
    return lambda exchange: exchange.break_off(len(BODY), BODY[:count], HEADERS)


def test_a_download_is_verified_and_whole(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    server.script = [serve]
    assert client.checkpoints.download("ckpt_1", tmp_path / "a.zip") == SHA256.hexdigest()
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_broken_download_goes_on_where_it_stopped(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    server.script = [break_after(60_000), Exchange.hang_up, serve]
    client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert server.seen[2].headers["range"] == "bytes=60000-"
    assert server.seen[2].headers["if-range"] == ETAG


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    server.script = [break_after(60_000), Exchange.hang_up]
    with pytest.raises(ConnectionFailed):
        client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
    server.script = [serve]
    client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == BODY
    assert server.seen[-1].headers["range"] == "bytes=60000-"


def test_a_file_that_changed_meanwhile_is_started_over(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    old = {**HEADERS, "ETag": '"old"', "Repr-Digest": HEADERS["Repr-Digest"]}
    server.script = [lambda exchange: exchange.break_off(99_999, b"x" * 500, old), serve]
    client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == BODY


def test_a_complete_part_only_needs_its_name(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    (tmp_path / f".a.zip.{SHA256.hexdigest()[:16]}.part").write_bytes(BODY)
    server.script = [serve]
    client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_damaged_bytes_never_get_the_name(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    (tmp_path / "a.zip").write_bytes(b"the version before")
    server.script = [answer(200, BODY[:-1] + b"x", HEADERS)]
    with pytest.raises(DigestMismatch, match=r"a\.zip"):
        client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == b"the version before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_without_a_digest_is_refused(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    server.script = [answer(200, BODY)]
    with pytest.raises(DigestMismatch, match="no sha256"):
        client.checkpoints.download("ckpt_1", tmp_path / "a.zip")


def test_an_absent_checkpoint_is_an_api_error(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    server.script = [answer(404, {"type": "/problems/not-found", "detail": "No such resource."})]
    with pytest.raises(ApiError, match="No such resource"):
        client.checkpoints.download("ckpt_1", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []
