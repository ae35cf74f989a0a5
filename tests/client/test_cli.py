import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client.cli import app
from tests.client.conftest import ScriptedServer, answer
from tests.client.test_feed import frame, stream

ID = "job_" + "0" * 32


def make_job(**changes: Any) -> dict[str, Any]:
    progress = {"step": 40, "total_steps": 100, "epoch": 4.0, "eta_seconds": 6.0}
    empty = dict.fromkeys(
        ("phase", "requested", "reason", "error", "started_at", "finished_at", "queue_position")
    )
    return {
        **empty,
        "id": ID,
        "name": "a job",
        "model": "mlp",
        "status": "running",
        "progress": progress,
        "attempt": 1,
        "evaluation": None,
        "created_at": "2026-01-31T12:00:00.123456Z",
        **changes,
    }


@pytest.fixture
def run(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRAINSMITH_URL", server.url)
    monkeypatch.setenv("TRAINSMITH_API_KEY", "ts_test")

    def invoke(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=input)

    return invoke


def test_json_is_what_the_api_says(server: ScriptedServer, run: Any) -> None:
    server.script = [answer(200, make_job())]
    result = run("jobs", "show", ID, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == make_job()


def test_a_job_is_shown_as_fields(server: ScriptedServer, run: Any) -> None:
    server.script = [answer(200, make_job())]
    result = run("jobs", "show", ID)
    assert "step 40/100  0:06 left  epoch 4.0" in result.stdout


def test_a_list_shows_a_row_per_job(server: ScriptedServer, run: Any) -> None:
    server.script = [answer(200, {"data": [make_job()], "next_cursor": None})]
    header, row = run("jobs", "list", "--status", "running").stdout.splitlines()
    assert header.split() == ["ID", "NAME", "MODEL", "STATUS", "STEP", "CREATED"]
    assert row.startswith(ID)
    assert "40/100" in row
    assert "status=running" in server.seen[0].path


def test_an_api_error_is_one_line_and_exit_code_1(server: ScriptedServer, run: Any) -> None:
    server.script = [answer(404, {"type": "/problems/not-found", "detail": "No such job."})]
    result = run("jobs", "show", "job_x")
    assert result.exit_code == 1
    assert result.stderr == "trainsmith: No such job. [404 not-found]\n"
    assert result.stdout == ""


def test_no_key_is_one_line_and_exit_code_1(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TRAINSMITH_API_KEY")
    monkeypatch.chdir(tmp_path)
    result = run("jobs", "list")
    assert result.exit_code == 1
    assert result.stderr.startswith("trainsmith: no API key for http")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["jobs", "show"], ["jobs", "foo"], ["datasets", "upload", "?"]]
)
def test_a_wrong_command_line_is_exit_code_2(run: Any, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_spec_that_is_no_object_is_exit_code_2(run: Any, text: str) -> None:
    assert run("jobs", "submit", "-", input=text).exit_code == 2


def test_a_spec_may_come_from_stdin_and_be_changed(server: ScriptedServer, run: Any) -> None:
    server.script = [answer(201, make_job(status="queued"))]
    spec = json.dumps({"name": "a", "training": {"epochs": 1, "seed": 3}})
    result = run("jobs", "submit", "-", "--set", "training.epochs=5", input=spec)
    assert result.stdout == f"{ID}\n"
    assert json.loads(server.seen[0].body) == {"name": "a", "training": {"epochs": 5, "seed": 3}}


POINTS = [["train/loss", 10, 0.5], ["train/loss", 20, 0.25], ["validation/loss", 20, 0.3]]
FEED = [
    frame(1, "state", status="queued"),
    frame(2, "state", status="running", phase="training"),
    frame(3, "metric", points=POINTS),
    frame(4, "warning", message="[odd] column"),
]


def test_a_dataset_is_shown_with_the_size_of_what_its_columns_hold(
    server: ScriptedServer, run: Any
) -> None:
    plain = {"missing": 0, "distinct": 9}
    picture = {"channels": 3, "height_min": 8, "height_max": 32, "width_min": 8, "width_max": 8}
    columns = [
        {"name": "a", "kind": "image", "image": picture, **plain},
        {
            "name": "b",
            "kind": "sequence",
            "sequence": {"width": 2, "steps_min": 5, "steps_max": 14},
            **plain,
        },
        {"name": "c", "kind": "number", "image": None, "sequence": None, **plain},
    ]
    dataset = {"id": "ds_1", "name": "n", "format": "images", "rows": 9, "sha256": "00"}
    created = {"created_at": "2026-01-31T12:00:00Z", "columns": columns}
    server.script = [answer(200, dataset | created)]
    lines = run("datasets", "show", "ds_1").stdout.splitlines()[-3:]
    assert lines[0].endswith("8-32 x 8, colour")
    assert lines[1].endswith("5-14 steps of 2")
    assert lines[2].split() == ["c", "number", "0", "9"]


def test_a_preview_shows_pictures_and_steps_in_short(server: ScriptedServer, run: Any) -> None:
    cell = {"name": "cat/1.png", "height": 8, "width": 9, "channels": 1}
    steps = [[[0.5, 1.0], [0.25, 2.0]], [[1 / 3], [2.0]]]
    rows = [[cell, 1.5, steps[0]], [None, None, steps[1]]]
    server.script = [answer(200, {"columns": ["a", "b", "c"], "rows": rows})]
    _, first, second = run("datasets", "show", "ds_1", "--preview").stdout.splitlines()
    assert first.split("  ") == ["cat/1.png (8 x 9)", "1.5", "[0.5 1; 0.25 2; …]"]
    assert second.split() == ["-", "-", "[0.333333,", "2,", "…]"]


def test_an_evaluation_stands_beside_its_baseline(server: ScriptedServer, run: Any) -> None:
    evaluation = {
        "test": {"loss": 0.25, "accuracy": 0.9},
        "validation": {"loss": 0.3, "accuracy": 0.8},
        "baseline": {"kind": "majority_class", "accuracy": 0.5},
        "per_class": [{"precision": 1.0, "class": "x", "support": 7}],
        "cross_validation": {"folds": [{}, {}], "mean": {"loss": 0.4}, "std": {"loss": 0.1}},
        "warnings": ["few rows"],
    }
    server.script = [answer(200, evaluation)]
    result = run("jobs", "evaluation", ID)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["SCORE", "TEST", "VALIDATION", "BASELINE", "2", "FOLDS", "DEVIATION"],
        ["accuracy", "0.9", "0.8", "0.5", "-", "-"],
        ["loss", "0.25", "0.3", "-", "0.4", "0.1"],
        [],
        ["CLASS", "SUPPORT", "PRECISION"],
        ["x", "7", "1"],
    ]
    assert result.stderr == "warning: few rows\n"


def test_watching_prints_lines_and_a_curve(server: ScriptedServer, run: Any) -> None:
    end = frame(5, "state", status="succeeded")
    done = make_job(status="succeeded")
    scores = answer(200, {"test": {"accuracy": 0.97}})
    server.script = [stream(*FEED, end), answer(200, make_job()), answer(200, done), scores]
    result = run("jobs", "watch", ID)
    assert result.exit_code == 0, result.stderr
    for text in (
        "running: training",
        "warning: [odd] column",
        "● validation/loss",
        "test/accuracy 0.97",
    ):
        assert text in result.stdout


def test_watching_a_job_that_fails_is_exit_code_3(server: ScriptedServer, run: Any) -> None:
    end = frame(5, "state", status="failed", reason="data_error")
    error = {"message": "column 'a' is constant", "hint": "drop it"}
    failed = make_job(status="failed", reason="data_error", error=error)
    server.script = [stream(*FEED, end), answer(200, make_job()), answer(200, failed)]
    result = run("jobs", "watch", ID)
    assert result.exit_code == 3
    assert "column 'a' is constant" in result.stdout
    assert "drop it" in result.stdout


def test_watching_as_json_prints_one_event_per_line_and_the_job(
    server: ScriptedServer, run: Any
) -> None:
    done = make_job(status="cancelled")
    server.script = [stream(*FEED, frame(5, "state", status="cancelled")), answer(200, done)]
    result = run("jobs", "watch", ID, "--json")
    assert result.exit_code == 3
    *events, job = map(json.loads, result.stdout.splitlines())
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
    assert job == done


def test_status_says_what_is_wrong(server: ScriptedServer, run: Any) -> None:
    checks = {"postgres": "ok", "redis": "ConnectionError"}
    server.script = [answer(503, {"status": "not ready", "checks": checks})]
    result = run("status")
    assert result.exit_code == 1
    assert "redis        ConnectionError" in result.stdout
    assert len(server.seen) == 1


def test_a_retry_from_a_checkpoint(server: ScriptedServer, run: Any) -> None:
    server.script = [answer(202, make_job(status="queued"))]
    assert run("jobs", "retry", ID, "--from", "last").stdout == f"{ID} queued\n"
    assert json.loads(server.seen[0].body) == {"from": "last"}
    assert run("jobs", "retry", ID, "--from", "middle").exit_code == 2


def test_checkpoints_are_pinned_and_unpinned(server: ScriptedServer, run: Any) -> None:
    checkpoint = "ckpt_" + "0" * 32
    server.script = [answer(200, {"id": checkpoint, "pinned": True})]
    assert run("checkpoints", "pin", checkpoint).stdout == f"{checkpoint} pinned\n"
    server.script = [answer(200, {"id": checkpoint, "pinned": False})]
    assert run("checkpoints", "unpin", checkpoint).stdout == f"{checkpoint} not pinned\n"


def test_explanations_are_listed_and_downloaded(
    server: ScriptedServer, run: Any, tmp_path: Path
) -> None:
    body = b'{"rows": []}'
    sha256 = hashlib.sha256(body).hexdigest()
    file = {"name": "integrated_gradients.json", "type": "integrated_gradients"}
    listed = {"data": [{**file, "size_bytes": len(body), "sha256": sha256}]}
    server.script = [answer(200, listed), answer(200, listed), answer(200, body, {"ETag": sha256})]
    header, row = run("jobs", "explanations", ID).stdout.splitlines()
    assert header.split() == ["NAME", "TYPE", "BYTES", "SHA256"]
    assert row.split() == [*file.values(), str(len(body)), sha256]
    result = run("jobs", "explanations", ID, "--output", str(tmp_path / "new"))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "new" / file["name"]).read_bytes() == body
    assert server.seen[2].path == f"/v1/jobs/{ID}/explanations/{file['name']}"
