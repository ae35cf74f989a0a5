from collections.abc import Iterable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from app.db import transaction
from app.jobs import lifecycle
from app.metrics.tables import Metric
from tests.factories import Account, claim_job, job_body, make_dataset


@pytest.fixture
def job_id(client: TestClient, account: Account) -> str:
    body = job_body(make_dataset(account.project_id))
    return str(client.post("/v1/jobs", json=body).json()["id"])


def write(points: Iterable[tuple[str, int, float]], resume_step: int = 0) -> None:
    """One attempt that resumes from a step, writes points, and hands the job back."""
    lease = claim_job()
    rows = [
        {"attempt_id": lease.attempt_id, "name": name, "step": step, "value": value}
        for name, step, value in points
    ]
    with transaction() as session:
        lifecycle.set_resume_step(session, lease, resume_step)
        session.execute(insert(Metric), rows)
        lifecycle.hand_back(session, lease)


def read(client: TestClient, job_id: str, **params: Any) -> dict[str, list[list[float]]]:
    answer = client.get(f"/v1/jobs/{job_id}/metrics", params=params)
    assert answer.status_code == 200, answer.text
    return {series["name"]: series["points"] for series in answer.json()["series"]}


def test_a_job_without_points_has_no_series(client: TestClient, job_id: str) -> None:
    assert read(client, job_id) == {}


def test_points_count_up_to_the_step_that_a_later_attempt_resumed_from(
    client: TestClient, job_id: str
) -> None:
    write(("train/loss", step, 1.0) for step in range(1, 11))
    write((("train/loss", step, 2.0) for step in range(7, 9)), resume_step=6)
    write((("train/loss", step, 3.0) for step in range(5, 12)), resume_step=4)
    points = read(client, job_id)["train/loss"]
    assert [step for step, _ in points] == list(range(1, 12))
    assert [value for _, value in points] == [1.0] * 4 + [3.0] * 7


def test_a_step_measured_twice_shows_the_later_value(client: TestClient, job_id: str) -> None:
    write([("test/accuracy", 10, 0.5)])
    write([("test/accuracy", 10, 0.6)], resume_step=10)
    assert read(client, job_id) == {"test/accuracy": [[10, 0.6]]}


def test_series_are_chosen_by_name_and_step(client: TestClient, job_id: str) -> None:
    names = ("train/loss", "train/lr", "validation/loss")
    write((name, step, 0.5) for name in names for step in range(1, 6))
    chosen = read(client, job_id, names=["train/lr", "train/loss"], from_step=2, to_step=3)
    assert {name: [step for step, _ in points] for name, points in chosen.items()} == {
        "train/loss": [2, 3],
        "train/lr": [2, 3],
    }


def test_thinning_keeps_the_ends_and_every_extreme(client: TestClient, job_id: str) -> None:
    values = [float(step % 97) for step in range(5000)]
    values[1234], values[4321] = -50.0, 900.0
    write(("train/loss", step, value) for step, value in enumerate(values))
    points = read(client, job_id, points=100)["train/loss"]
    assert len(points) <= 100
    assert [1234, -50.0] in points
    assert [4321, 900.0] in points
    assert points[0] == [0, values[0]]
    assert points[-1] == [4999, values[-1]]
    assert [step for step, _ in points] == sorted({step for step, _ in points})
    assert len(read(client, job_id, points=5000)["train/loss"]) == 5000


@pytest.mark.parametrize(
    "query",
    ["points=9", "points=10001", "from_step=-1", "names=%00", "name=train/loss", "points=x"],
)
def test_a_bad_query_is_refused(client: TestClient, job_id: str, query: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}/metrics?{query}").status_code == 422
