"""Is it alive, is it ready, how is it doing. None of these needs a key."""

import os
import shutil
from collections.abc import Callable, Iterable
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app import queue, storage
from app.db import transaction
from app.jobs.tables import Attempt, AttemptStatus, Job, JobStatus, LeaseRow

MIN_FREE_BYTES = 64 * 2**20

router = APIRouter(tags=["health"])


@router.get("/livez", operation_id="check_alive")
async def check_alive() -> dict[str, str]:
    """The process answers. Looks at nothing else."""
    return {"status": "ok"}


@router.get("/readyz", operation_id="check_ready", responses={503: {"description": "Not ready."}})
def check_ready(response: Response) -> dict[str, Any]:
    """Postgres and Redis answer and the disk has room. 503 names what does not."""
    checks = {"postgres": ping_postgres, "redis": ping_redis, "disk": look_at_disk}
    results = {name: run_check(check) for name, check in checks.items()}
    ready = all(result == "ok" for result in results.values())
    response.status_code = 200 if ready else 503
    return {"status": "ok" if ready else "not ready", "checks": results}


@router.get("/metrics", operation_id="scrape_metrics")
def scrape_metrics() -> Response:
    """Prometheus text. Counted in Postgres, so every API process says the same."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def run_check(check: Callable[[], None]) -> str:
    try:
        check()
    except Exception as error:  # a check says what is wrong; nothing it raises may end the others
        return type(error).__name__
    return "ok"


class SchemaMismatch(Exception):
    """The database is not migrated to the version of this code."""


class DiskFull(Exception):
    """The data folder has no room."""


def ping_postgres() -> None:
    with transaction() as session:
        version = session.scalar(text("SELECT version_num FROM alembic_version"))
    if version != find_head():
        raise SchemaMismatch


def find_head() -> str | None:
    folder = os.path.join(os.path.dirname(os.path.dirname(__file__)), "migrations")
    config = Config()
    config.set_main_option("script_location", folder)
    return ScriptDirectory.from_config(config).get_current_head()


def ping_redis() -> None:
    queue.get_redis().ping()


def look_at_disk() -> None:
    root = storage.get_root()
    root.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(root).free < MIN_FREE_BYTES or not os.access(root, os.W_OK):
        raise DiskFull


class DatabaseCollector(Collector):
    def collect(self) -> Iterable[Metric]:
        with transaction() as session:
            yield from (count_jobs(session), count_attempts(session), *measure_queue(session))


def count_jobs(session: Session) -> Metric:
    gauge = GaugeMetricFamily("trainsmith_jobs", "Jobs by status.", labels=["status"])
    rows = session.execute(select(Job.status, func.count()).group_by(Job.status))
    counts = dict(rows.all())
    for status in JobStatus:
        gauge.add_metric([status.value], counts.get(status, 0))
    return gauge


def count_attempts(session: Session) -> Metric:
    gauge = GaugeMetricFamily("trainsmith_attempts", "Attempts by status.", labels=["status"])
    query = select(Attempt.status, func.count()).group_by(Attempt.status)
    counts = dict(session.execute(query).all())
    for status in AttemptStatus:
        gauge.add_metric([status.value], counts.get(status, 0))
    return gauge


def measure_queue(session: Session) -> Iterable[Metric]:
    waiting = select(func.extract("epoch", func.now() - func.min(Job.not_before))).where(
        Job.status == JobStatus.QUEUED, Job.not_before <= func.now()
    )
    yield GaugeMetricFamily(
        "trainsmith_queue_oldest_seconds",
        "How long the oldest due job has waited.",
        value=float(session.scalar(waiting) or 0),
    )
    yield GaugeMetricFamily(
        "trainsmith_leases",
        "Workers that hold a job now.",
        value=session.scalar(select(func.count()).select_from(LeaseRow)) or 0,
    )
