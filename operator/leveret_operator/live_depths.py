"""Live depths, and the last check before zero, on raw channels.

A passive declare answers at once with the messages that are ready (aio-pika's own objects would answer from memory). A
quorum queue without a leader answers 0, so 0 is only a hint; what settles it is a `basic.get`, which goes through the
queue's log: it answers *empty*, brings a message (which goes straight back), or fails.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp.commands import Basic

from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret.scaling.backlog import Depth

LANES = 4  # a channel answers one declare after the other; so many are under way at once
TIMEOUT = 2.0  # s, for one declare
GET_TIMEOUT = 5.0  # s


class QueueMissing(Exception):
    """The broker has no such queue."""


class LiveDepths:
    """One connection's way to ask for depths. A channel that fails is replaced at the next use."""

    def __init__(
        self, connection: AbstractConnection, clock: Callable[[], datetime], asked: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._clock, self._asked = clock, asked
        self._lanes: list[AbstractChannel | None] = [None] * LANES
        self._locks = [asyncio.Lock() for _ in range(LANES)]
        self._turn = itertools.cycle(range(LANES))

    async def read(self, queues: Iterable[str]) -> Mapping[str, Depth | QueueMissing | None]:
        """Return what each queue answered; None for one that did not."""
        names = list(queues)
        answers = await asyncio.gather(*(self._read_one(name, next(self._turn)) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _read_one(self, queue: str, lane: int) -> Depth | QueueMissing | None:
        async with self._locks[lane]:
            self._asked("live")
            try:
                async with asyncio.timeout(TIMEOUT):
                    channel = await self._channel(lane)
                    answer = await channel.queue_declare(queue, passive=True)
                return Depth(self._clock(), answer.message_count or 0)
            except ChannelNotFoundEntity as problem:
                self._lanes[lane] = None
                return QueueMissing(str(problem))
            except (*BrokerErrors, BrokerGone):
                self._lanes[lane] = None  # an answer that comes late must not be taken for the next one's
                return None

    async def is_empty(self, queue: str) -> bool:
        """Return True only if the queue itself says so."""
        self._asked("get")
        try:
            async with asyncio.timeout(GET_TIMEOUT):
                channel = await self._open()
                try:
                    message = await channel.basic_get(queue, no_ack=False)
                    if isinstance(message.delivery, Basic.GetOk):
                        await channel.basic_nack(message.delivery.delivery_tag or 0, requeue=True)
                        return False
                    return isinstance(message.delivery, Basic.GetEmpty)
                finally:
                    await channel.close()
        except (*BrokerErrors, BrokerGone):
            return False

    async def _channel(self, lane: int) -> AbstractChannel:
        channel = self._lanes[lane]
        if channel is None or channel.is_closed:
            channel = self._lanes[lane] = await self._open()
        return channel

    async def _open(self) -> AbstractChannel:
        transport = self._connection.transport
        if transport is None:
            raise BrokerGone("the connection is closed")
        return await transport.connection.channel(publisher_confirms=False)
