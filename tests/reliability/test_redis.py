"""Redis only carries hints: without it training goes on, and queued jobs start late, not never."""

import time

import pytest
import redis

from tests.e2e.conftest import wait_until
from tests.reliability.conftest import Site


def kill(site: Site) -> None:
    site.find_redis().kill()


def flush(site: Site) -> None:
    """As if it had come back empty."""
    url = site.stack.find_worker().environ()["TRAINSMITH_REDIS_URL"]
    redis.Redis.from_url(url).flushall()


@pytest.mark.parametrize("harm", [kill, flush])
def test_a_redis_that_forgets_everything_delays_no_training_and_loses_no_job(site, harm):
    running = site.submit()
    site.wait_for_a_checkpoint(running)
    queued = [site.submit(epochs=5) for _ in range(4)]

    harm(site)
    started = time.monotonic()
    queued.append(site.submit(epochs=5))
    assert time.monotonic() - started < 2

    assert site.assert_it_ended_well(running)["attempt"] == 1
    for job_id in queued:
        assert site.assert_it_ended_well(job_id, epochs=5)["attempt"] == 1


def test_a_frozen_redis_delays_no_request_and_no_training(site):
    running = site.submit()
    site.wait_for_a_checkpoint(running)
    server = site.find_redis()
    server.suspend()
    try:
        started = time.monotonic()
        late = site.submit(epochs=5)
        assert time.monotonic() - started < 2
        status, checks = site.check_ready()
        assert (status, checks["postgres"], checks["disk"]) == (503, "ok", "ok")
        assert checks["redis"] != "ok"
        assert site.is_alive()
        time.sleep(3)
    finally:
        server.resume()

    assert site.assert_it_ended_well(running)["attempt"] == 1
    assert site.assert_it_ended_well(late, epochs=5)["attempt"] == 1
    wait_until(lambda: site.check_ready()[0] == 200, "all is well again")
