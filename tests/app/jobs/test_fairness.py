"""Whose turn it is: priority first, then the project that was served least, then age."""

import time
from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.db import transaction
from app.jobs import fairness, service
from app.jobs.tables import Attempt, Job
from app.projects.tables import Project
from tests.app.jobs import acts
from tests.app.jobs.acts import race
from tests.factories import claim_job, make_account

pytestmark = pytest.mark.usefixtures("database")


def set_cap(project_id: str, jobs: int) -> None:
    with transaction() as session:
        session.get_one(Project, project_id).max_running = jobs


def spend(project_id: str, seconds: float, ago: float = 60.0) -> None:
    """Worker time that a project has used: one attempt, which ended `ago` seconds ago."""
    job_id = acts.add_job(project_id=project_id, priority=100)
    lease = claim_job()
    assert lease.job_id == job_id
    assert acts.succeed(lease)
    with transaction() as session:
        ended = func.clock_timestamp() - timedelta(seconds=ago)
        session.execute(
            update(Attempt)
            .where(Attempt.id == lease.attempt_id)
            .values(ended_at=ended, started_at=ended - timedelta(seconds=seconds))
        )


def claim_all() -> list[str]:
    claimed = []
    while (lease := acts.claim()) is not None:
        claimed.append(lease.job_id)
    return claimed


def test_jobs_of_one_project_start_in_the_order_they_came():
    job_ids = acts.add_jobs(5)

    assert claim_all() == job_ids


def test_a_higher_priority_goes_first_whoever_used_more():
    busy, idle = make_account().project_id, make_account().project_id
    spend(busy, 1000)
    later = acts.add_job(project_id=idle)
    first = acts.add_job(project_id=busy, priority=1)

    assert claim_all() == [first, later]


def test_the_project_that_used_less_time_goes_first():
    busy, idle = make_account().project_id, make_account().project_id
    spend(busy, 1000)
    spend(idle, 10)
    second = acts.add_job(project_id=busy)
    first = acts.add_job(project_id=idle)

    assert claim_all() == [first, second]


def test_time_used_longer_than_a_day_ago_is_forgotten():
    reformed, modest = make_account().project_id, make_account().project_id
    spend(reformed, 5000, ago=fairness.WINDOW_SECONDS + 60)
    spend(modest, 10)
    second = acts.add_job(project_id=modest)
    first = acts.add_job(project_id=reformed)

    assert claim_all() == [first, second]


def test_a_flood_of_one_project_does_not_starve_another():
    flood, other = make_account().project_id, make_account().project_id
    many = acts.add_jobs(10, project_id=flood)
    assert acts.claim() is not None  # it runs, and its time counts
    time.sleep(0.01)
    single = acts.add_job(project_id=other)

    assert claim_job().job_id == single
    assert claim_job().job_id in many


def test_a_job_that_has_to_wait_is_not_due(clock):
    job_id = acts.add_job()
    assert acts.fail(claim_job())

    assert acts.claim() is None
    clock.skip(10)
    assert claim_job().job_id == job_id


def test_parallel_claims_do_not_overrun_the_cap_of_a_project():
    project_id = make_account().project_id
    set_cap(project_id, 3)
    acts.add_jobs(30, project_id=project_id)

    claims = race(*[lambda n=n: acts.claim(f"worker {n}") for n in range(8)])

    held = [lease for lease in claims if lease is not None]
    assert len(held) == 3
    assert acts.succeed(held[0])
    assert acts.claim() is not None
    assert acts.claim() is None


def test_a_capped_project_does_not_hold_up_the_others():
    capped, free = make_account().project_id, make_account().project_id
    set_cap(capped, 1)
    acts.add_jobs(3, project_id=capped, priority=5)
    waiting = acts.add_jobs(2, project_id=free)

    assert claim_all()[1:] == waiting


def test_the_queue_position_is_the_order_of_claims():
    busy, idle = make_account().project_id, make_account().project_id
    spend(busy, 100)
    job_ids = [
        *acts.add_jobs(2, project_id=busy),
        *acts.add_jobs(2, project_id=idle),
        acts.add_job(project_id=busy, priority=3),
    ]
    with transaction() as session:
        positions = {
            job_id: service.find_queue_position(session, session.get_one(Job, job_id))
            for job_id in job_ids
        }

    expected = sorted(job_ids, key=lambda job_id: positions[job_id])
    assert sorted(positions.values()) == [1, 2, 3, 4, 5]
    assert claim_job().job_id == expected[0]
    assert expected == [job_ids[4], *job_ids[2:4], *job_ids[:2]]
