"""Bulk depths: what the broker's own numbers say, and when they say nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import aio_pika
import pytest
from containers import Server, free_port, management

from leveret.rabbitmq.publisher import Publisher
from leveret.scaling.backlog import Depth
from leveret.settings import Broker
from leveret_operator.broker_statistics import BrokerStatistics, NoStatistics

Make = Callable[..., BrokerStatistics]
QUEUE = "leveret.bench"


async def eventually(reader: BrokerStatistics, broker: Broker, wanted: Callable[[Depth | None], bool]) -> Depth | None:
    """Read until the numbers, which queues write every 5 s, are as wanted."""
    async with asyncio.timeout(30):
        while True:
            depth = (await reader.read(broker)).depths.get(QUEUE)
            if wanted(depth):
                return depth
            await asyncio.sleep(0.5)


async def test_a_queue_shows_with_both_counts_and_only_in_its_virtual_host(
    statistics: Make, broker: Broker, publisher: Publisher, job: aio_pika.Message, asked: Counter[str]
) -> None:
    await asyncio.gather(*(publisher.publish("leveret.jobs", QUEUE, job) for _ in range(20)))
    depth = await eventually(statistics(), broker, lambda depth: depth is not None and depth.ready == 20)
    assert depth is not None
    assert depth.unacked == 0
    assert (await statistics().read(replace(broker, vhost="/"))).depths.get(QUEUE) is None
    assert asked["management"] == 0


async def test_a_queue_whose_name_is_no_text_hides_no_other(
    statistics: Make, rabbitmq: Server, broker: Broker, publisher: Publisher, asked: Counter[str]
) -> None:
    """It can be made through the management API, which then can't list any queue."""
    await asyncio.to_thread(management, rabbitmq, f"queues/{broker.vhost}/caf%E9", "PUT", {"durable": True})
    reader = statistics()
    assert await eventually(reader, broker, lambda depth: depth is not None)
    async with asyncio.timeout(30):
        while "caf\ufffd" not in (await reader.read(broker)).depths:  # noqa: ASYNC110 - the broker counts every 5 s
            await asyncio.sleep(0.5)
    assert asked["management"] == 0


async def test_a_deleted_queue_is_missing_and_not_empty(
    statistics: Make, rabbitmq: Server, broker: Broker, publisher: Publisher
) -> None:
    await eventually(statistics(), broker, lambda depth: depth is not None)
    rabbitmq.run("rabbitmqctl", "-q", "-p", broker.vhost, "delete_queue", QUEUE)
    assert await eventually(statistics(), broker, lambda depth: depth is None) is None


async def test_the_management_list_stands_in_and_its_zeros_are_unknown(
    statistics: Make, broker: Broker, publisher: Publisher, job: aio_pika.Message, asked: Counter[str]
) -> None:
    reader = statistics(metrics_port=free_port())
    assert QUEUE not in (await reader.read(broker)).depths
    await publisher.publish("leveret.jobs", QUEUE, job)
    depth = await eventually(reader, broker, lambda depth: depth is not None)
    assert depth is not None
    assert (depth.ready, depth.unacked) == (1, 0)
    assert asked["management"] > 0


async def test_credentials_that_are_refused_are_said(statistics: Make, broker: Broker) -> None:
    reader = statistics(metrics_port=free_port())
    with pytest.raises(NoStatistics, match="401"):
        await reader.read(replace(broker, password="wrong"))


async def test_a_broker_that_hangs_is_unknown(statistics: Make, rabbitmq: Server, broker: Broker) -> None:
    rabbitmq.pause()
    try:
        with pytest.raises(NoStatistics, match="Timeout"):
            await statistics().read(broker)
    finally:
        rabbitmq.unpause()
