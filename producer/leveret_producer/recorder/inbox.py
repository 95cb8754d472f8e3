"""The messages of a queue in batches, each to be acknowledged when what it says is committed."""

import asyncio
import time

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq import spec

from leveret.rabbitmq.connection import BrokerGone
from leveret_producer.recorder.letters import shorten

GATHER = 0.05  # s from a batch's first message to its end
MOST_EVENTS = 4_000  # a batch
MOST_BYTES = 8 << 20
IDLE = 1.0  # s of silence: nothing waits


class Inbox:
    """One subscription; it is not made anew when the broker ends it."""

    def __init__(self, queue: str, channel: AbstractChannel, prefetch: int) -> None:
        self._queue = queue
        self._channel = channel
        self._prefetch = prefetch
        self._messages: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()  # None: the broker ended it

    @classmethod
    async def subscribe(cls, connection: AbstractConnection, queue: str, prefetch: int) -> "Inbox":
        inbox = cls(queue, await connection.channel(publisher_confirms=False), prefetch)
        await inbox._consume()
        return inbox

    async def batch(self) -> list[AbstractIncomingMessage]:
        """Return the messages of a batch, which ends with acknowledge(); none after a second of silence."""
        messages: list[AbstractIncomingMessage] = []
        events, size, deadline = 0, 0, time.monotonic() + IDLE
        while events < MOST_EVENTS and size < MOST_BYTES and (left := deadline - time.monotonic()) > 0:
            try:
                message = await self._next(left)
            except TimeoutError:
                break
            if message is None and messages:  # the queue may be deleted: these are nowhere else
                self._messages.put_nowait(None)
                break
            if message is None:
                raise BrokerGone(f"the broker ended the subscription to {self._queue}")
            if not messages:
                deadline = time.monotonic() + GATHER
            messages.append(message)
            if len(messages) == self._prefetch:
                break  # no other comes before these are acknowledged
            events += max(1, message.body.count(b'"id"'))
            size += len(message.body)
        if self._channel.is_closed:
            raise BrokerGone("the channel was closed")
        return messages

    async def _next(self, within: float) -> AbstractIncomingMessage | None:
        if not self._messages.empty():
            return self._messages.get_nowait()
        # Not `wait_for`: before Python 3.12 it forgets that it was cancelled if what it waits for comes in the same moment.
        async with asyncio.timeout(within):
            return await self._messages.get()

    async def acknowledge(self, batch: list[AbstractIncomingMessage]) -> None:
        await batch[-1].ack(multiple=True)

    async def _consume(self) -> None:
        await self._channel.set_qos(prefetch_count=self._prefetch)
        queue = await self._channel.get_queue(self._queue, ensure=False)

        async def ended(_: spec.Basic.Cancel) -> None:
            self._messages.put_nowait(None)

        underlay = await self._channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(ended)
        await queue.consume(self._arrived)

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        shorten(message)
        self._messages.put_nowait(message)
