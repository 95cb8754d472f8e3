"""Being registered as a consumer of a queue, and noticing when that ends.

The broker ends it with a `basic.cancel` when the queue is deleted, its leader moves or the consumer time-out passes; the
channel and what was delivered on it live on, so running jobs are still acknowledged there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, FieldValue
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from leveret.rabbitmq.connection import BrokerErrors
from leveret_consumer.acks import ChannelAcks, Delivered

log = structlog.get_logger(__name__)

Take = Callable[[Delivered], Awaitable[None]]


class QueueMissing(Exception):
    """There is no queue of that name."""


class Subscription:
    """One consumer tag on one channel."""

    def __init__(self, channel: AbstractChannel, tag: str, prefetch: int, acks: ChannelAcks) -> None:
        self._channel, self.tag, self._prefetch, self._acks = channel, tag, prefetch, acks
        self._tasks: set[asyncio.Task[object]] = set()
        self.ended = asyncio.Event()  # by the broker
        self.channel_closed = False  # what was delivered on it is lost
        self.delivered = 0  # so far

    @classmethod
    async def open(
        cls,
        connection: AbstractConnection,
        queue: str,
        tag: str,
        prefetch: int,
        take: Take,
        *,
        timeout: timedelta,
    ) -> "Subscription":
        """Subscribe on a channel of its own; raise QueueMissing, or what else the broker has against it.

        The broker takes back what is not acknowledged within `timeout`, and ends the consumer.
        """
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=prefetch)
        underlay = await channel.get_underlay_channel()
        made = cls(channel, tag, prefetch, ChannelAcks(underlay))
        underlay.on_consumer_cancel_callbacks.add(made._cancelled)
        channel.close_callbacks.add(made._closed)
        arguments: dict[str, FieldValue] = {"x-consumer-timeout": round(timeout.total_seconds() * 1000)}
        try:
            await underlay.basic_consume(queue, made._deliver(take), consumer_tag=tag, arguments=arguments)
        except ChannelNotFoundEntity as problem:
            raise QueueMissing(f"there is no queue {queue}") from problem
        return made

    @property
    def has_room(self) -> bool:
        """Whether the broker may deliver more."""
        return len(self._tasks) < self._prefetch

    async def cancel(self) -> None:
        """Take no more; what was delivered stays delivered."""
        if not self.ended.is_set():
            underlay = await self._channel.get_underlay_channel()
            await underlay.basic_cancel(self.tag)

    async def retire(self) -> None:
        """Close the channel once everything that was delivered on it is settled."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        try:
            await self._channel.close()
        except BrokerErrors:
            log.debug("a channel was closed already")

    def _deliver(self, take: Take) -> Callable[[DeliveredMessage], Coroutine[None, None, None]]:
        async def deliver(raw: DeliveredMessage) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.delivered += 1
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await take(Delivered(raw, self._acks))

        return deliver

    def _cancelled(self, frame: object) -> None:
        log.warning("the broker ended the consumer", tag=self.tag)
        self.ended.set()

    def _closed(self, channel: object, problem: BaseException | None) -> None:
        self.channel_closed = True
        self.ended.set()
