"""Know when the broker has blocked a connection, as it does with those that publish while it is short of memory or disk.

It reads nothing more from such a connection until its alarm is over; what was sent by then it takes afterwards. So there is
no sense in sending more, nor in giving up what was sent and sending it again: it would arrive twice. A broker tells a
connection only when that publishes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from aio_pika.abc import AbstractConnection

from leveret.rabbitmq.connection import BrokerGone

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.5  # s
_AT_ONCE = 0.05  # s: a connection that isn't blocked says so without waiting for anything

TEXT = "connected, but it takes no messages: it is short of memory or disk, and has raised an alarm"


class Alarm:
    """Of one connection at a time."""

    def __init__(self, tell: Callable[[bool], None] = lambda raised: None) -> None:
        self._tell = tell  # is called with every change
        self._over = asyncio.Event()
        self._over.set()
        self._waits: dict[asyncio.Timeout, float] = {}

    @property
    def raised(self) -> bool:
        return not self._over.is_set()

    async def over(self) -> None:
        await self._over.wait()

    async def watch(self, connection: AbstractConnection) -> None:
        """Follow a connection until it ends."""
        transport = connection.transport
        if transport is None:
            raise BrokerGone("the connection was closed")
        ready = transport.connection.ready
        try:
            while True:
                try:
                    async with asyncio.timeout(_AT_ONCE):
                        await ready()
                except TimeoutError:
                    self._raise()
                    await ready()
                    self._end()
                await asyncio.sleep(LOOK_EVERY)
        finally:
            self._end()

    @asynccontextmanager
    async def patience(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError after so long, not counting the time of an alarm; when that ends, it counts anew."""
        async with asyncio.timeout(None if self.raised else seconds) as limit:
            self._waits[limit] = seconds
            try:
                yield
            finally:
                del self._waits[limit]

    def _raise(self) -> None:
        log.warning("the broker has blocked publishing: it is short of memory or disk")
        self._over.clear()
        self._tell(True)
        for limit in self._waits:
            if not limit.expired():
                limit.reschedule(None)

    def _end(self) -> None:
        if self._over.is_set():
            return
        log.info("the broker takes messages again")
        self._over.set()
        self._tell(False)
        now = asyncio.get_running_loop().time()
        for limit, seconds in self._waits.items():
            if not limit.expired():
                limit.reschedule(now + seconds)
