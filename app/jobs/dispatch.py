"""The reconciler: a loop in every API and worker process; one of them acts at a time."""

import logging
import threading

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from app import faults, queue
from app.config import get_settings
from app.db import transaction
from app.jobs import fairness, lifecycle

log = logging.getLogger(__name__)
ADVISORY_LOCK = 0x7472_6169_6E73  # "trains"
MAX_WAKE_UPS = 64


def reconcile() -> None:
    """Reap expired leases, then send the wake-ups that due jobs lack. Safe to run twice."""
    with transaction() as session:
        if not session.scalar(select(func.pg_try_advisory_xact_lock(ADVISORY_LOCK))):
            return
        for job_id in lifecycle.reap(session):
            log.warning("the worker of %s was lost; its lease has run out", job_id)
        due = fairness.count_due(session)
    if due == 0:
        return
    faults.reach("dispatch.before_send")
    for _ in range(min(due, MAX_WAKE_UPS) - queue.count_wake_ups()):
        queue.send_wake_up()


class Reconciler(threading.Thread):
    """Runs `reconcile` until stopped. An outage is logged once and waited out."""

    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._stopping = threading.Event()
        self._healthy = True

    def run(self) -> None:
        while not self._stopping.wait(get_settings().reconcile_seconds):
            try:
                self.act()
            except Exception as error:  # Postgres or Redis is away: the next round tries again
                self._report(error)
            else:
                self._healthy = True

    def act(self) -> None:
        reconcile()

    def _report(self, error: Exception) -> None:
        if self._healthy:
            cause = error.orig if isinstance(error, DBAPIError) else error
            log.warning("reconciler is waiting: %s", cause)
        self._healthy = False

    def stop(self) -> None:
        self._stopping.set()
        self.join(timeout=5)
