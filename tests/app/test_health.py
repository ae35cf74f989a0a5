from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families as parse

from app import queue
from tests.factories import Account, claim_job, job_body, make_dataset


def test_alive_and_ready_without_a_key(server: TestClient, database: None) -> None:
    server.headers.pop("Authorization", None)
    assert server.get("/livez").json() == {"status": "ok"}
    answer = server.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"postgres": "ok", "redis": "ok", "disk": "ok"}


def test_not_ready_names_what_does_not_answer(
    server: TestClient, database: None, monkeypatch
) -> None:
    monkeypatch.setattr(queue, "get_redis", lambda: 1 / 0)
    answer = server.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["redis"] == "ZeroDivisionError"


def test_metrics_count_what_is_in_the_database(client: TestClient, account: Account) -> None:
    dataset = make_dataset(account.project_id)
    for _ in range(3):
        client.post("/v1/jobs", json=job_body(dataset))
    claim_job()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(client.get("/metrics").text)
        for sample in family.samples
    }
    assert samples["trainsmith_jobs", "queued"] == 2
    assert samples["trainsmith_jobs", "running"] == 1
    assert samples["trainsmith_leases",] == 1
    assert samples["trainsmith_queue_oldest_seconds",] > 0
