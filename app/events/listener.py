"""One Redis subscription per process, shared by every open stream. Losing it costs a second."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from redis.asyncio import Redis

from app.errors import RateLimited
from app.queue import events_channel, get_redis_url

log = logging.getLogger(__name__)
PREFIX = events_channel("")
MAX_STREAMS = 100  # of one key, in one process
POLL_SECONDS = 1.0
RETRY_SECONDS = 2.0


class Subscription:
    """A stream's place to wait for news of its job."""

    def __init__(self, closing: asyncio.Event) -> None:
        self.news = asyncio.Event()
        self._closing = closing

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    async def wait(self) -> None:
        """Until there is news or a second has passed: hints may be lost, the database is asked."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self.news.wait()
        except TimeoutError:
            pass
        self.news.clear()


class Listener:
    def __init__(self) -> None:
        self._waiting: dict[str, set[Subscription]] = defaultdict(set)
        self._open: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[Subscription]:
        subscription = Subscription(self._closing)
        self._waiting[job_id].add(subscription)
        try:
            yield subscription
        finally:
            self._waiting[job_id].discard(subscription)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    @contextmanager
    def admit(self, key_id: str) -> Iterator[None]:
        """Raises RateLimited where a key has as many streams open as it may."""
        if self._open[key_id] >= MAX_STREAMS:
            raise RateLimited(f"This key has {MAX_STREAMS} streams open. Close one.")
        self._open[key_id] += 1
        try:
            yield
        finally:
            self._open[key_id] -= 1
            if not self._open[key_id]:
                del self._open[key_id]

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="events listener")

    def close_streams(self) -> None:
        """Let open streams end by themselves, so that the server can stop."""
        self._closing.set()
        for job_id in list(self._waiting):
            self._wake(job_id)

    async def stop(self) -> None:
        self.close_streams()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _wake(self, job_id: str) -> None:
        for subscription in self._waiting.get(job_id, ()):
            subscription.news.set()

    async def _run(self) -> None:
        healthy = True
        while True:
            try:
                await self._listen()
            except Exception as error:  # Redis is away: streams poll until it is back
                if healthy:
                    log.warning("streams are polling, Redis does not answer: %s", error)
                healthy = False
            else:
                healthy = True
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        redis = Redis.from_url(get_redis_url(), socket_connect_timeout=2, health_check_interval=10)
        async with redis, redis.pubsub() as pubsub:
            await pubsub.psubscribe(f"{PREFIX}*")
            while True:
                message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=5)
                if message is not None:
                    self._wake(message["channel"].decode().removeprefix(PREFIX))
