import hashlib
import json
import socket
from pathlib import Path

import pytest

from client import ApiError, ConnectionFailed, DigestMismatch, Trainsmith, TrainsmithError
from tests.client.conftest import Exchange, ScriptedServer, answer

JOB = {"id": "job_1", "status": "queued"}


def test_every_request_shows_the_key(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(200, JOB)]
    client.jobs.get("job_1")
    assert server.seen[0].headers["authorization"] == "Bearer ts_test"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_get_is_repeated_while_the_server_is_busy(
    server: ScriptedServer, client: Trainsmith, status: int
) -> None:
    server.script = [answer(status), answer(status), answer(200, JOB)]
    assert client.jobs.get("job_1") == JOB
    assert len(server.seen) == 3


def test_retry_after_is_waited_for(
    server: ScriptedServer, client: Trainsmith, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("client.http.time.sleep", waits.append)
    server.script = [answer(503, headers={"Retry-After": "7"}), answer(200, JOB)]
    client.jobs.get("job_1")
    assert waits == [7.0]


def test_a_long_retry_after_is_an_error_at_once(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(429, headers={"Retry-After": "3600"})]
    with pytest.raises(ApiError, match="429"):
        client.jobs.get("job_1")
    assert len(server.seen) == 1


def test_a_create_whose_answer_is_lost_is_repeated_with_the_same_key(
    server: ScriptedServer, client: Trainsmith
) -> None:
    server.script = [Exchange.hang_up, answer(201, JOB)]
    assert client.jobs.create({"name": "a"}) == JOB
    first, second = server.seen
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_two_creates_have_two_keys(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(201, JOB)]
    client.jobs.create({})
    client.jobs.create({})
    first, second = server.seen
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_a_post_without_a_key_is_not_repeated(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [Exchange.hang_up]
    with pytest.raises(ConnectionFailed):
        client.jobs.resume("job_1")
    assert len(server.seen) == 1


def test_asking_twice_to_cancel_is_harmless_and_so_is_repeated(
    server: ScriptedServer, client: Trainsmith
) -> None:
    server.script = [Exchange.hang_up, answer(202, JOB)]
    assert client.jobs.cancel("job_1") == JOB


def test_a_server_that_is_not_there_is_one_line_with_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        Trainsmith(f"http://127.0.0.1:{port}", "ts_test") as client,
        pytest.raises(ConnectionFailed, match="make up") as caught,
    ):
        client.jobs.get("job_1")
    assert "\n" not in str(caught.value)


def test_a_problem_becomes_one_line_that_names_every_field(
    server: ScriptedServer, client: Trainsmith
) -> None:
    problem = {
        "type": "/problems/validation-error",
        "title": "Validation error",
        "status": 422,
        "detail": "The request is not valid.",
        "errors": [{"loc": ["training", "epochs"], "message": "must be at least 1", "type": "x"}],
        "request_id": "req_1",
    }
    server.script = [answer(422, problem)]
    with pytest.raises(ApiError) as caught:
        client.jobs.create({})
    error = caught.value
    assert (error.status, error.type, error.request_id) == (422, "validation-error", "req_1")
    assert error.errors[0]["loc"] == ["training", "epochs"]
    assert str(error) == (
        "The request is not valid. training.epochs: must be at least 1 [422 validation-error]"
    )


def test_an_answer_of_a_proxy_is_an_error_too(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(413, b"<html>too big</html>")]
    with pytest.raises(ApiError, match="413"):
        client.jobs.create({})


def test_lists_go_on_over_all_pages(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [
        answer(200, {"data": [{"id": "job_3"}, {"id": "job_2"}], "next_cursor": "c"}),
        answer(200, {"data": [{"id": "job_1"}], "next_cursor": None}),
    ]
    jobs = client.jobs.list(status="failed", labels={"team": "search"})
    assert [job["id"] for job in jobs] == ["job_3", "job_2", "job_1"]
    assert "status=failed" in server.seen[1].path
    assert "label.team=search" in server.seen[1].path
    assert "cursor=c" in server.seen[1].path


def test_a_list_asks_for_no_more_than_its_limit(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(200, {"data": [{"id": "job_3"}, {"id": "job_2"}], "next_cursor": "c"})]
    assert len(list(client.jobs.list(limit=2))) == 2
    assert "limit=2" in server.seen[0].path
    assert len(server.seen) == 1


@pytest.mark.parametrize("text", ["../keys", "a/b", "job_1?x=1"])
def test_an_id_cannot_become_another_path(
    server: ScriptedServer, client: Trainsmith, text: str
) -> None:
    server.script = [answer(200, JOB)]
    client.jobs.get(text)
    assert server.seen[0].path.count("/") == 3
    assert "?" not in server.seen[0].path


def test_a_dot_is_not_an_id(client: Trainsmith) -> None:
    with pytest.raises(TrainsmithError, match="not an id"):
        client.jobs.delete("..")


def test_an_upload_sends_the_file_and_its_digest(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    path = tmp_path / "iris.csv"
    path.write_text("a,b\n1,2\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    server.script = [answer(201, {"id": "ds_1", "sha256": sha256})]
    client.datasets.upload(path)
    body = server.seen[0].body
    assert b"a,b\n1,2\n" in body
    assert b'filename="iris.csv"' in body
    assert sha256.encode() in body


def test_an_upload_that_was_stored_differently_is_an_error(
    server: ScriptedServer, client: Trainsmith, tmp_path: Path
) -> None:
    path = tmp_path / "iris.csv"
    path.write_text("a,b\n1,2\n")
    server.script = [answer(201, {"id": "ds_1", "sha256": "0" * 64})]
    with pytest.raises(DigestMismatch, match="ds_1"):
        client.datasets.upload(path)


def test_a_retry_says_where_to_begin(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(202, JOB)]
    client.jobs.retry("job_1")
    client.jobs.retry("job_1", "best")
    assert [json.loads(seen.body) for seen in server.seen] == [
        {"from": "scratch"},
        {"from": "best"},
    ]
    assert server.seen[0].path == "/v1/jobs/job_1/retry"


def test_pinning_is_repeated_safely(server: ScriptedServer, client: Trainsmith) -> None:
    server.script = [answer(503), answer(200, {"id": "ckpt_1", "pinned": True})]
    assert client.checkpoints.pin("ckpt_1")["pinned"]
    assert [seen.path for seen in server.seen] == ["/v1/checkpoints/ckpt_1/pin"] * 2
