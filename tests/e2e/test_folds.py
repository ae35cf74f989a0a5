"""A worker that is killed in the middle of a cross-validation costs no figure of it."""

import signal
from typing import Any

from tests.e2e import jobs
from tests.e2e.conftest import Stack, wait_until


def finish(stack: Stack, job_id: str) -> tuple[dict[str, Any], Any]:
    job = stack.client.jobs.wait(job_id, timeout=120)
    assert job["status"] == "succeeded", job
    return stack.client.jobs.evaluation(job_id), job


def test_a_worker_killed_in_a_fold_gives_the_evaluation_of_a_calm_run(stack: Stack, tmp_path):
    header, rows = jobs.read_digits()
    path = jobs.write_csv(tmp_path / "digits.csv", header, rows)
    spec = jobs.make_spec(
        stack.client.datasets.upload(path)["id"],
        "digit",
        training={"epochs": 20},
        evaluation={"cross_validation": {"folds": 4}},
    )
    expected, _ = finish(stack, stack.client.jobs.create(spec)["id"])

    job_id = stack.client.jobs.create(spec)["id"]
    wait_until(lambda: stack.client.jobs.metrics(job_id, "fold/loss"), "the first fold is measured")
    stack.find_worker().send_signal(signal.SIGKILL)
    evaluation, job = finish(stack, job_id)

    assert evaluation == expected
    assert (job["attempt"], job["failures"], job["losses"]) == (2, 0, 1)
    events = stack.client.jobs.stream(job_id)
    told = [event["data"]["fold"] for event in events if event["type"] == "fold"]
    assert told[-4:] == [1, 2, 3, 4]
    assert len(told) > 4  # both attempts told of those that were finished
    (series,) = stack.client.jobs.metrics(job_id, "fold/accuracy")
    scores = [fold["scores"]["accuracy"] for fold in evaluation["cross_validation"]["folds"]]
    assert series["points"] == [[number, score] for number, score in enumerate(scores, start=1)]
    assert job["evaluation"]["cross_validation"]["mean"] == evaluation["cross_validation"]["mean"]
