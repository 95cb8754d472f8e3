"""What measures do on the broker: declare the queue and tell of it as the operator does, fill it, empty it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import uuid_utils.compat as uuid_utils
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel, AbstractConnection

from bench import references
from leveret import events, topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker

QUEUE = "leveret.bench"
BARE = "bare"  # the references' queue
TYPE = "noop"
PAYLOAD = json.dumps({})
FILL_WINDOW = 400


@dataclass(frozen=True, slots=True)
class BrokerSide:
    connection: AbstractConnection
    channel: AbstractChannel
    publisher: Publisher

    async def tell(self, key: str, body: bytes) -> None:
        message = Message(body, content_type="application/json", delivery_mode=DeliveryMode.PERSISTENT)
        await self.publisher.publish(topology.EVENTS, key, message)

    async def define_queue(self) -> None:
        """Tell the producers that there is a JobQueue."""
        namespace, _, name = QUEUE.partition(".")
        defined = events.QueueDefined(namespace, name, datetime.now(UTC), "", max_attempts=5, timeout_seconds=30.0)
        await self.tell(f"queue.{QUEUE}", events.encode(defined))

    async def burst(self, exchange: str, key: str, messages: Sequence[Message]) -> None:
        """Publish all at once, and wait for the confirms."""
        await asyncio.gather(*(self.publisher.publish(exchange, key, message) for message in messages))

    async def fill(self, queue: str, messages: Sequence[Message]) -> None:
        await references.publish(self.connection, queue, messages, FILL_WINDOW)

    async def ready(self, queue: str) -> int:
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def empty(self, *queues: str) -> None:
        for name in queues:
            await (await self.channel.get_queue(name, ensure=False)).purge()


@contextlib.asynccontextmanager
async def broker_side(broker: Broker) -> AsyncIterator[BrokerSide]:
    """Connect, and declare what Leveret needs and the references' queue."""
    async with await open_connection(broker, "bench") as connection:
        channel = await connection.channel()
        await declare(channel, topology.shared())
        await declare(channel, topology.for_queue(QUEUE))
        await channel.declare_queue(BARE, durable=True, arguments=dict(references.QUORUM))
        yield BrokerSide(connection, channel, await Publisher.open(connection))


def jobs(count: int) -> list[Message]:
    """Jobs that do nothing, as a producer writes them."""
    now = datetime.now(UTC)
    return [
        wire.to_message(Envelope(uuid_utils.uuid7(), QUEUE, TYPE, PAYLOAD.encode(), submitted_at=now))
        for _ in range(count)
    ]
