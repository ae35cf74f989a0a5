"""The one Celery task, and the slot that its process trains in."""

import logging
import mmap
import os
import socket
from pathlib import Path

import psutil
from celery.signals import (
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from sqlalchemy.orm import Session

from app import db, faults, hints
from app.config import get_settings
from app.db import transaction
from app.jobs import leases
from app.jobs.dispatch import Reconciler
from app.queue import TASK, get_celery
from worker.slot import Slot
from worker.supervisor import Supervisor, claim_job

log = logging.getLogger(__name__)
# Shared by the Celery process and its children, which fork after this: set once the worker stops.
_draining = mmap.mmap(-1, 1)
_slot = Slot(get_settings().lease_seconds, get_settings().home / "cache")


def is_draining() -> bool:
    return _draining[0] == 1


@get_celery().task(name=TASK)
def work() -> None:
    """Run due jobs until there are none. A message more or less changes nothing."""
    while not is_draining():
        assignment = claim_job(name_worker())
        if assignment is None:
            return
        faults.reach("supervisor.after_claim")
        log.info("%s: attempt %d starts", assignment.lease.job_id, assignment.lease.attempt)
        Supervisor(assignment, _slot, is_draining).run()
        log.info("%s: attempt %d ended", assignment.lease.job_id, assignment.lease.attempt)


# ---------------------------------------------------------------- names, and who is still alive


def host_prefix() -> str:
    """Names this machine's boot: a pid means nothing after a restart or on another host."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}/{boot}/"


def name_worker() -> str:
    started = psutil.Process().create_time()
    return f"{host_prefix()}{os.getpid()}/{started:.2f}"


def is_alive(worker: str) -> bool:
    pid, started = worker.removeprefix(host_prefix()).split("/")
    try:
        return f"{psutil.Process(int(pid)).create_time():.2f}" == started
    except psutil.NoSuchProcess:
        return False


def expire_dead_workers(session: Session) -> None:
    """Do not wait for the leases of processes that were killed on this machine."""
    for worker in leases.list_workers(session, host_prefix()):
        if not is_alive(worker):
            leases.expire(session, worker)


# ---------------------------------------------------------------- the Celery process


class WorkerReconciler(Reconciler):
    def act(self) -> None:
        with transaction() as session:
            expire_dead_workers(session)
        super().act()


_reconciler = WorkerReconciler()


@worker_ready.connect
def _start_reconciler(**_: object) -> None:
    _reconciler.start()


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    """Running jobs save a checkpoint and go back to the queue."""
    _draining[0] = 1


@worker_shutdown.connect
def _stop_reconciler(**_: object) -> None:
    _reconciler.stop()


# ---------------------------------------------------------------- its children, one per slot


@worker_process_init.connect
def _start_slot(**_: object) -> None:
    db.reset_engine()
    hints.reset_sender()
    _slot.start()


@worker_process_shutdown.connect
def _stop_slot(**_: object) -> None:
    _slot.stop()
