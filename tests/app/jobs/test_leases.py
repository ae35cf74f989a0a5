"""Leases run out by Postgres' clock, and not because Postgres was away."""

import pytest

from app.db import transaction
from app.jobs import leases
from app.jobs.leases import Lease
from app.jobs.tables import JobStatus
from tests.app.jobs import acts
from tests.factories import claim_job

pytestmark = pytest.mark.usefixtures("database")


def test_a_renewed_lease_does_not_run_out(clock):
    acts.add_job()
    lease = claim_job()
    for _ in range(3):
        clock.skip(20)
        assert acts.renew(lease)

    assert acts.reap() == []
    assert acts.record(lease)


def test_a_lease_runs_out_30_seconds_after_its_last_renewal(clock):
    job_id = acts.add_job()
    lease = claim_job()
    clock.skip(20)
    assert acts.renew(lease)

    clock.skip(28)
    assert acts.reap() == []
    clock.skip(3)
    assert acts.reap() == [job_id]


def test_a_late_renewal_counts_as_long_as_nobody_took_the_job_over(clock):
    acts.add_job()
    lease = claim_job()
    clock.skip(500)

    assert acts.renew(lease)

    assert acts.reap() == []


def test_nobody_is_declared_lost_while_postgres_has_just_started(clock):
    """Workers could not renew while it was away: they get one lease of time."""
    job_id = acts.add_job()
    lease = claim_job()
    clock.ahead_seconds = 0.0
    acts.expire(lease.worker)
    with transaction() as session:
        uptime = session.connection().exec_driver_sql(
            "SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())"
        )
        just_started = -float(uptime.scalar_one())

    clock.ahead_seconds = just_started + 29
    acts.expire(lease.worker)
    clock.skip(0.5)
    assert acts.reap() == []

    clock.skip(1)
    assert acts.reap() == [job_id]


def test_only_its_own_worker_renews_a_lease(clock):
    acts.add_job()
    lease = claim_job("one")

    assert not acts.renew(Lease(lease.job_id, lease.attempt, lease.attempt_id, "two"))
    assert not acts.renew(Lease(lease.job_id, lease.attempt + 1, lease.attempt_id, "one"))


def test_the_leases_of_a_worker_known_to_be_dead_run_out_at_once(clock):
    dead, alive = acts.add_jobs(2)
    assert claim_job("host/boot/1/10.00").job_id == dead
    assert claim_job("host/boot/2/11.00").job_id == alive
    with transaction() as session:
        assert sorted(leases.list_workers(session, "host/boot/")) == [
            "host/boot/1/10.00",
            "host/boot/2/11.00",
        ]
        assert leases.list_workers(session, "host_boot") == []

    acts.expire("host/boot/1/10.00")

    assert acts.reap() == [dead]
    assert acts.read(alive).status is JobStatus.RUNNING
