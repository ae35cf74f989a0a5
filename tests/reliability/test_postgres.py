"""While Postgres is away training goes on; what it reports is written when Postgres is back."""

import time
from contextlib import suppress

import httpx2
import psutil
import pytest

from client import ApiError, ConnectionFailed
from tests.e2e.conftest import wait_until
from tests.reliability.conftest import LEASE_SECONDS, Site


def kill_postgres(site: Site) -> bool:
    """SIGKILL the server and all its processes. False: it is down already."""
    server = site.find_postgres()
    if server is None or server.status() == psutil.STATUS_ZOMBIE:
        return False
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return True


def is_ready(site: Site) -> bool:
    with suppress(httpx2.TransportError, ApiError, ConnectionFailed):
        return site.check_ready()[0] == 200
    return False


@pytest.mark.parametrize("seconds", [0.0, LEASE_SECONDS + 2], ids=["killed", "away for a while"])
def test_an_outage_of_postgres_costs_no_attempt(site, seconds):
    job_id = site.submit(epochs=200)
    site.wait_for_a_checkpoint(job_id)

    assert kill_postgres(site)
    deadline = time.monotonic() + seconds
    if seconds:
        status, checks = site.check_ready()
        assert (status, checks["redis"]) == (503, "ok")
        assert checks["postgres"] != "ok"
        assert site.is_alive()
    while time.monotonic() < deadline:  # each time it is back
        kill_postgres(site)
        time.sleep(0.1)

    wait_until(lambda: is_ready(site), "Postgres is back")
    job = site.assert_it_ended_well(job_id, epochs=200)
    assert (job["attempt"], job["losses"], job["failures"]) == (1, 0, 0)
