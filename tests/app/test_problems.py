"""Whatever goes wrong is answered as one small problem+json, without echo."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from app.jobs import routes
from tests.factories import Account, job_body, make_dataset


def post(client: TestClient, content: bytes, **headers: str) -> Any:
    headers = {"Content-Type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return client.post("/v1/jobs", content=content, headers=headers)


def check_problem(answer: Any, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) < 8192
    problem: dict[str, Any] = json.loads(answer.content, parse_constant=pytest.fail)
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"name": "x",}',
        b'{"name": "x"}{"name": "y"}',
        b'{"training": {"l1": NaN}}',
        b'{"training": {"l1": Infinity}}',
        b'{"training": {"l1": -Infinity}}',
        b'\xef\xbb\xbf{"name": "a"}',
        '{"name": "a"}'.encode("utf-16"),
        b'{"name": "\xff\xfe"}',
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"name": "a", "name": "b"}',
        b'{"priority": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_strict_json_is_malformed(client: TestClient, body: bytes) -> None:
    check_problem(post(client, body), 400, "malformed-body")


@pytest.mark.parametrize("body", [b"null", b'"job"', b"[]", b"1", b"{}", b""])
def test_json_that_is_no_job_is_invalid(client: TestClient, body: bytes) -> None:
    check_problem(post(client, body), 422, "validation-error")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "application/octet-stream"},
        {"Content_Encoding": "gzip"},
    ],
)
def test_other_media_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    check_problem(post(client, b"{}", **headers), 415, "unsupported-media-type")


def test_a_large_body_is_refused(client: TestClient) -> None:
    check_problem(post(client, b" " * 2**20 + b"{}"), 413, "payload-too-large")


def test_a_hundred_thousand_errors_make_a_small_answer(client: TestClient) -> None:
    body = json.dumps({f"k{i}": 1 for i in range(60_000)}).encode()
    problem = check_problem(post(client, body), 422, "validation-error")
    assert 1 <= len(problem["errors"]) <= 50


def test_long_input_is_not_echoed(client: TestClient) -> None:
    body = json.dumps({"n" * 100_000: 1, "model": {"type": "x" * 100_000}}).encode()
    problem = check_problem(post(client, body), 422, "validation-error")
    assert "x" * 20 not in json.dumps(problem)
    assert "n" * 257 not in json.dumps(problem)


def test_lone_surrogates_and_nul_are_refused(client: TestClient) -> None:
    for name in (rb'"\ud800"', rb'"\u0000"', rb'" \t "'):
        problem = check_problem(post(client, b'{"name": ' + name + b"}"), 422, "validation-error")
        assert ["name"] in [error["loc"] for error in problem["errors"]]


@pytest.mark.parametrize(
    ("part", "loc"),
    [
        ({"model": {"type": "mlp", "hidden": [0]}}, ["model", "hidden", 0]),
        ({"model": {"type": "mlp", "mlp": 1}}, ["model", "mlp"]),
        ({"model": {"type": "os.system"}}, ["model"]),
        ({"model": {}}, ["model"]),
        ({"training": {"optimizer": {"type": "sgd", "lr": -1}}}, ["training", "optimizer", "lr"]),
        ({"training": {"loss": {"type": "huber", "delta": -1.0}}}, ["training", "loss", "delta"]),
        ({"training": {"loss": "best"}}, ["training", "loss"]),
        ({"training": {"epochs": "10"}}, ["training", "epochs"]),
        ({"labels": {"?": "x"}}, ["labels", "?"]),
        ({"status": "succeeded"}, ["status"]),
    ],
)
def test_an_error_points_into_the_body(
    client: TestClient, account: Account, part: dict[str, Any], loc: list[str | int]
) -> None:
    body = job_body(make_dataset(account.project_id), **part)
    problem = check_problem(client.post("/v1/jobs", json=body), 422, "validation-error")
    assert problem["errors"][0]["loc"][: len(loc)] == loc
    assert len(problem["errors"]) == 1


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    check_problem(client.get("/nowhere"), 404, "not-found")
    answer = client.put("/v1/jobs")
    check_problem(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"]


@pytest.mark.parametrize("job_id", ["x", "job_1", f"job_{'A' * 32}", "job_%00", "..%2f..%2fetc"])
def test_an_impossible_id_is_not_found(client: TestClient, job_id: str) -> None:
    check_problem(client.get(f"/v1/jobs/{job_id}"), 404, "not-found")


def test_a_bug_is_opaque(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(routes.service, "list_jobs", fail)
    problem = check_problem(client.get("/v1/jobs"), 500, "internal-error")
    assert "secret" not in json.dumps(problem)


def test_a_silent_database_is_unavailable(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("SELECT", {}, Exception("no connection"))

    monkeypatch.setattr(routes.service, "list_jobs", fail)
    answer = client.get("/v1/jobs")
    check_problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1", True), ("x" * 129, False), ("a b", False), ("", False)]
)
def test_a_decent_request_id_is_kept(client: TestClient, given: str, kept: bool) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept
