"""Publish on a channel what comes in one turn of the loop as one, and have each confirmed by itself.

The client library publishes one message at a time on a channel, each once the one before is handed to the kernel: a
hundred that are ready at once take a hundred turns. Here they take one.
"""

import asyncio
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from uuid import uuid4

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel
from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

MOST = 256 * 1024  # bytes that are queued as one
LONGEST_KEY = 255


@dataclass(slots=True, eq=False)
class _Write:
    written: bytes
    confirmed: asyncio.Future[Any]
    id: str | None  # of a mandatory one
    number: int = 0


class ConfirmedWrites:
    """Those on one channel with publisher confirms."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._waiting: list[_Write] = []
        self._writing: object | None = None

    async def send(self, exchange: str, routing_key: str, message: aio_pika.Message, *, mandatory: bool) -> None:
        """Return once it's confirmed; raise what the client library raises, PublishError for what was returned."""
        if self._channel.is_closed:
            raise ChannelInvalidStateError("the channel is closed")
        underlay = await self._channel.get_underlay_channel()
        assert isinstance(underlay, aiormq.Channel)
        properties = message.properties
        if mandatory and not properties.message_id:  # by which the library knows what is returned
            properties.message_id = uuid4().hex
        written = _written(
            underlay,
            Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory),
            properties,
            message.body,
        )
        self._waiting.append(
            one := _Write(written, underlay.create_future(), properties.message_id if mandatory else None)
        )
        if self._writing is None:
            self._writing = underlay.create_task(self._write(underlay))  # which ends it with the channel
        try:
            await one.confirmed
        finally:
            if underlay.message_id_delivery_tag.get(one.id or "") == one.number:
                del underlay.message_id_delivery_tag[one.id or ""]

    async def _write(self, channel: aiormq.Channel) -> None:
        try:
            while self._waiting:
                async with channel.lock:  # whoever holds it numbers what it publishes
                    some = self._next()
                    for one in some:
                        channel.delivery_tag += 1
                        one.number = channel.delivery_tag
                        channel.confirmations[one.number] = one.confirmed
                        if one.id:
                            channel.message_id_delivery_tag[one.id] = one.number
                    if some:
                        await channel.write_queue.put(ChannelFrame(b"".join(one.written for one in some), False))
        finally:
            self._writing = None

    def _next(self) -> "list[_Write]":
        """Take what is written now, the first in any case: without what nobody waits for any more."""
        sizes = accumulate(len(one.written) for one in self._waiting)
        count = max(1, sum(size <= MOST for size in sizes))
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [one for one in taken if not one.confirmed.done()]


def _written(channel: aiormq.Channel, publish: Basic.Publish, properties: Basic.Properties, body: bytes) -> bytes:
    """Return a publish as it goes over the line; raise ValueError for a routing key that can't."""
    if len(publish.routing_key.encode()) > LONGEST_KEY:
        raise ValueError(f"a routing key has at most {LONGEST_KEY} bytes: {publish.routing_key!r:.50}")
    size = channel.max_content_size
    parts = (ContentBody(body[at : at + size]) for at in range(0, len(body), size))
    return ChannelFrame.marshall(
        channel.number, (publish, ContentHeader(properties=properties, body_size=len(body)), *parts)
    ).payload
