"""The operator's broker adapters against a real RabbitMQ."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import aio_pika
import aiohttp
import pytest
from aio_pika.abc import AbstractConnection
from containers import Server

from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker
from leveret.topology import for_queue, shared
from leveret_operator.broker_statistics import BrokerStatistics

QUEUE = "leveret.bench"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[AbstractConnection]:
    """A connection to a broker that has one job queue."""
    async with await open_connection(broker, "test") as connection:
        async with await connection.channel() as channel:
            await declare(channel, shared())
            await declare(channel, for_queue(QUEUE))
        yield connection


@pytest.fixture
async def publisher(connection: AbstractConnection) -> Publisher:
    return await Publisher.open(connection)


@pytest.fixture
def asked() -> Counter[str]:
    """How often the broker was asked, by kind."""
    return Counter()


@pytest.fixture
async def statistics(rabbitmq: Server, asked: Counter[str]) -> AsyncIterator[Callable[..., BrokerStatistics]]:
    """Makes readers; ports that nobody listens on can be given."""
    async with aiohttp.ClientSession() as http:

        def make(
            *, metrics_port: int = rabbitmq.ports[15692], management_port: int = rabbitmq.ports[15672]
        ) -> BrokerStatistics:
            return BrokerStatistics(
                http,
                metrics_port=metrics_port,
                management_port=management_port,
                clock=now,
                asked=lambda kind: asked.update([kind]),
            )

        yield make


@pytest.fixture
def job() -> aio_pika.Message:
    return aio_pika.Message(b"{}", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
