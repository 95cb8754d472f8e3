"""Being registered as a consumer of a queue, and noticing when that ends.

The broker ends it with a `basic.cancel` when the queue is deleted, its leader moves or the consumer time-out passes; the
channel and what was delivered on it live on, so running jobs are still acknowledged there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from leveret.rabbitmq.connection import BrokerErrors

log = structlog.get_logger(__name__)

Take = Callable[[AbstractIncomingMessage], Awaitable[None]]


class QueueMissing(Exception):
    """There is no queue of that name."""


class Subscription:
    """One consumer tag on one channel."""

    def __init__(self, channel: AbstractChannel, tag: str) -> None:
        self._channel, self._tag = channel, tag
        self._tasks: set[asyncio.Task[object]] = set()
        self.ended = asyncio.Event()  # by the broker
        self.channel_closed = False  # what was delivered on it is lost

    @classmethod
    async def open(
        cls, connection: AbstractConnection, queue: str, tag: str, prefetch: int, take: Take
    ) -> "Subscription":
        """Subscribe on a channel of its own; raise QueueMissing, or what else the broker has against it."""
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=prefetch)
        underlay = await channel.get_underlay_channel()
        made = cls(channel, tag)
        underlay.on_consumer_cancel_callbacks.add(made._cancelled)
        channel.close_callbacks.add(made._closed)
        try:
            await underlay.basic_consume(queue, made._deliver(take), consumer_tag=tag)
        except ChannelNotFoundEntity as problem:
            raise QueueMissing(f"there is no queue {queue}") from problem
        return made

    async def cancel(self) -> None:
        """Take no more; what was delivered stays delivered."""
        if not self.ended.is_set():
            underlay = await self._channel.get_underlay_channel()
            await underlay.basic_cancel(self._tag)

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
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            try:
                message = IncomingMessage(raw)
            except ValueError as problem:
                # Its properties are none: the broker itself keeps it as a dead letter, of whatever form.
                log.warning("a message can't be read at all", because=str(problem))
                await raw.channel.basic_reject(raw.delivery_tag or 0, requeue=False)
                return
            await take(message)

        return deliver

    def _cancelled(self, frame: object) -> None:
        log.warning("the broker ended the consumer", tag=self._tag)
        self.ended.set()

    def _closed(self, channel: object, problem: BaseException | None) -> None:
        self.channel_closed = True
        self.ended.set()
