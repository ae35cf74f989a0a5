"""The wake-up channel. A message says "somebody run the claim query"; losing it loses nothing."""

from functools import cache
from urllib.parse import urlsplit

import redis
from celery import Celery

from app.config import get_settings

TASK = "trainsmith.work"
QUEUE = "trainsmith"
TIMEOUT_SECONDS = 2.0


def get_redis_url() -> str:
    url = get_settings().redis_url
    if url is None:
        raise RuntimeError("TRAINSMITH_REDIS_URL is not set; `trainsmith-server up` sets it")
    return url.get_secret_value()


def broker_url(redis_url: str) -> str:
    """redis-py says unix:///path, Celery says redis+socket:///path for the same socket."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    return f"redis+socket://{parts.path}?virtual_host=0"


@cache
def get_celery() -> Celery:
    celery = Celery("trainsmith", broker=broker_url(get_redis_url()), set_as_current=False)
    celery.conf.update(
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        task_acks_late=False,  # duplicates and losses are the database's business
        task_reject_on_worker_lost=False,
        task_retry_on_worker_lost=False,
        task_publish_retry=False,  # the reconciler is the retry
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_acquire_timeout=TIMEOUT_SECONDS,
        broker_transport_options={
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "socket_keepalive": urlsplit(get_redis_url()).scheme != "unix",
            "health_check_interval": 10,
        },
        worker_max_tasks_per_child=1000,
        worker_max_memory_per_child=400_000,  # kB; acts between tasks only
    )
    return celery


@cache
def get_redis() -> redis.Redis:
    return redis.Redis.from_url(
        get_redis_url(), socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
    )


def send_wake_up() -> None:
    """Raises kombu or redis errors when Redis is away."""
    get_celery().send_task(TASK, queue=QUEUE)


def count_wake_ups() -> int:
    length = get_redis().llen(QUEUE)
    return int(length)


def events_channel(job_id: str) -> str:
    return f"trainsmith:events:{job_id}"


def publish_event_hint(job_id: str) -> None:
    """Tell open streams that the feed has grown. They also look by themselves, more slowly."""
    get_redis().publish(events_channel(job_id), b"1")
