"""Publish on a channel what comes in one turn of the loop with one frame queued, and confirm each by itself.

The client library publishes one message at a time on a channel, each once the one before is handed to the kernel: a
hundred replies that are ready at once take a hundred turns. Here they take one. Only for what is not mandatory: the library
finds what was returned by its own means.
"""

import asyncio
from itertools import accumulate
from typing import Any

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


class ConfirmedWrites:
    """Those on one channel with publisher confirms."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._waiting: list[tuple[bytes, asyncio.Future[Any]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def send(self, routing_key: str, message: aio_pika.Message) -> None:
        """Publish to the default exchange; return once it's confirmed, raise what the client library raises."""
        if self._channel.is_closed:
            raise ChannelInvalidStateError("the channel is closed")
        underlay = await self._channel.get_underlay_channel()
        assert isinstance(underlay, aiormq.Channel)
        written = _written(underlay, routing_key, message)
        confirmed = underlay.create_future()
        self._waiting.append((written, confirmed))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(underlay))
        await confirmed

    async def _write(self, channel: aiormq.Channel) -> None:
        try:
            while self._waiting:
                async with channel.lock:  # whoever holds it numbers what it publishes
                    some = self._next()
                    for number, (_, confirmed) in enumerate(some, channel.delivery_tag + 1):
                        channel.confirmations[number] = confirmed
                    channel.delivery_tag += len(some)
                    if some:
                        await channel.write_queue.put(ChannelFrame(b"".join(written for written, _ in some), False))
        finally:
            self._writing = None

    def _next(self) -> list[tuple[bytes, asyncio.Future[Any]]]:
        """Take what is written now, the first in any case: without what nobody waits for any more."""
        sizes = accumulate(len(written) for written, _ in self._waiting)
        count = max(1, sum(size <= MOST for size in sizes))
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return [one for one in taken if not one[1].done()]


def _written(channel: aiormq.Channel, routing_key: str, message: aio_pika.Message) -> bytes:
    """Return a publish as it goes over the line; raise ValueError for a routing key that can't."""
    if len(routing_key.encode()) > LONGEST_KEY:
        raise ValueError(f"a routing key has at most {LONGEST_KEY} bytes: {routing_key!r:.50}")
    body, size = message.body, channel.max_content_size
    frames: list[Basic.Publish | ContentHeader | ContentBody] = [
        Basic.Publish(exchange="", routing_key=routing_key),
        ContentHeader(properties=message.properties, body_size=len(body)),
        *(ContentBody(body[at : at + size]) for at in range(0, len(body), size)),
    ]
    return ChannelFrame.marshall(channel.number, frames).payload
