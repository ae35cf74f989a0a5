"""Messages to Redis, sent by one background thread: a hung Redis never delays a request."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import BoundedSemaphore

from app import queue

log = logging.getLogger(__name__)
MAX_WAITING = 1000
_waiting = BoundedSemaphore(MAX_WAITING)


@cache
def get_sender() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="hints")


def reset_sender() -> None:
    """After a fork: the thread of the parent does not exist here."""
    get_sender.cache_clear()


def send(action: Callable[[], None]) -> None:
    """Run `action` soon. One that fails is logged: everybody also looks unasked."""
    if not _waiting.acquire(blocking=False):
        log.warning("Redis is slow: a hint was dropped")
        return
    get_sender().submit(_send, action)


def _send(action: Callable[[], None]) -> None:
    try:
        action()
    except Exception as error:  # any client error means the same: not sent
        log.warning("a hint was not sent: %s", error)
    finally:
        _waiting.release()


def hint_events(job_id: str) -> None:
    send(lambda: queue.publish_event_hint(job_id))


def hint_work() -> None:
    send(queue.send_wake_up)
