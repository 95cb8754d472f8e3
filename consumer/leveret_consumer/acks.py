"""Acknowledge on a channel: all that ends in the same turn of the loop, or while the last acks are written, goes together.

The ends of a batch of reports are confirmed at once, so their deliveries end in the same turn: one flush for them all,
in the turn after. Nothing that has finished waits for anything but the acks that are being written.
"""

import asyncio
from collections.abc import Mapping

from aio_pika.abc import FieldValue
from aiormq.abc import AbstractChannel, DeliveredMessage

from leveret.rabbitmq.connection import BrokerGone
from leveret_consumer.acknowledger import Acknowledger


class ChannelAcks:
    """Those of one channel."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._tags = Acknowledger()
        self._writing = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None  # a flush that has not begun

    async def finished(self, tag: int) -> None:
        """Acknowledge a delivery; return once that is written, raise a broker error or BrokerGone if it can't be."""
        self._tags.finished(tag)
        if self._next is None:
            self._next = asyncio.create_task(self._flush())
        await asyncio.shield(self._next)

    async def give_back(self, tag: int, *, requeue: bool = True) -> None:
        """nack a delivery: back to the queue, or to its dead letters."""
        async with self._writing:
            await self._channel.basic_nack(tag, requeue=requeue)
            self._tags.given_back(tag)

    async def _flush(self) -> None:
        async with self._writing:
            self._next = None
            acks = self._tags.flush()
            # Only the last one is waited for: they are written in order.
            written = [(tag, False) for tag in acks.singles]
            if acks.through is not None:
                written.insert(0, (acks.through, True))
            *first, (last, multiple) = written
            try:
                for tag, many in first:
                    await self._channel.basic_ack(tag, multiple=many, wait=False)
                await self._channel.basic_ack(last, multiple=multiple)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                raise BrokerGone("the connection ended while acks were written") from None  # how aiormq says it


class Delivered:
    """A message as it was delivered, whose ack goes together with others'; what it's read by is a `wire.Message`."""

    __slots__ = (
        *("_acks", "processed", "_channel", "body", "consumer_tag", "delivery_tag", "redelivered"),
        *("headers", "content_type", "content_encoding", "priority", "correlation_id", "reply_to"),
        *("message_id", "timestamp", "type", "app_id"),
    )

    def __init__(self, raw: DeliveredMessage, acks: ChannelAcks) -> None:
        properties = raw.header.properties
        self._acks, self._channel, self.processed = acks, raw.channel, False
        self.body = raw.body
        self.consumer_tag, self.delivery_tag, self.redelivered = raw.consumer_tag, raw.delivery_tag, raw.redelivered
        self.headers: Mapping[str, FieldValue] = properties.headers or {}
        self.content_type, self.content_encoding = properties.content_type, properties.content_encoding
        self.priority, self.correlation_id = properties.priority, properties.correlation_id
        self.reply_to, self.message_id = properties.reply_to, properties.message_id
        self.timestamp, self.type, self.app_id = properties.timestamp, properties.message_type, properties.app_id

    @property
    def is_lost(self) -> bool:
        """Whether its channel is closed, so that the broker has it again."""
        return self._channel.is_closed

    async def ack(self) -> None:
        # Processed from here on: whoever is cancelled while it waits must not give back what is acknowledged.
        self.processed = True
        await self._acks.finished(self.delivery_tag or 0)

    async def nack(self, requeue: bool = True) -> None:
        self.processed = True
        await self._acks.give_back(self.delivery_tag or 0, requeue=requeue)
