"""A few channels of one connection, lent to whoever has one thing to ask: a thousand who ask at once take turns.

A question that costs its channel (the broker closes it for the answer) costs the next one an opening, and nobody else
anything: each channel is in one hand at a time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection

from leveret.rabbitmq.connection import BrokerErrors

log = structlog.get_logger(__name__)

MOST = 3  # of a thousand that ask at once, each still has its answer within 350 round trips


class FewChannels:
    def __init__(self, connection: AbstractConnection, most: int = MOST) -> None:
        self._connection, self._turns = connection, asyncio.Semaphore(most)
        self._idle: list[AbstractChannel] = []
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Lend a channel with publisher confirms, once there is one; raise what opening one raises."""
        await self._turns.acquire()
        channel: AbstractChannel | None = None
        try:
            self._idle = [one for one in self._idle if not one.is_closed]
            channel = self._idle.pop() if self._idle else await self._connection.channel(publisher_confirms=True)
            yield channel
        except BaseException:
            # What was asked may be under way still, and its answer must not be taken for the next one's.
            task = asyncio.create_task(self._close(channel))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
            raise
        self._idle.append(channel)
        self._turns.release()

    async def _close(self, channel: AbstractChannel | None) -> None:
        """Not waited for by whoever asked, but its turn is over only then: until then it's open."""
        try:
            if channel and not channel.is_closed:
                await channel.close()
        except BrokerErrors as problem:
            log.debug("a channel was closed already", because=str(problem))
        finally:
            self._turns.release()
