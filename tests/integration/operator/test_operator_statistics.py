"""Bulk depths: what the broker's own numbers say, and when they say nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import aio_pika
import pytest
from containers import Server, free_port, management
from operator_link import now, operating, until
from played import Cluster

from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.retry import RetryPolicy
from leveret.scaling.backlog import WRITTEN_WITHIN, Depth
from leveret.scaling.decide import Policy
from leveret.settings import Broker
from leveret_operator.broker_statistics import BrokerStatistics, NoStatistics
from leveret_operator.jobqueue import Consumer, JobQueue

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


async def test_the_management_list_stands_in_and_proves_a_zero(
    statistics: Make, broker: Broker, publisher: Publisher, job: aio_pika.Message, asked: Counter[str]
) -> None:
    reader = statistics(metrics_port=free_port())
    assert QUEUE not in (await reader.read(broker)).depths, "a first zero may be that of numbers that aren't there yet"
    await publisher.publish("leveret.jobs", QUEUE, job)
    depth = await eventually(reader, broker, lambda depth: depth is not None and depth.ready == 1)
    assert depth is not None
    assert depth.unacked == 0
    async with await open_connection(broker, "drain") as connection, await connection.channel() as channel:
        await (await (await channel.get_queue(QUEUE, ensure=False)).get()).ack()
    drained = now()
    depth = await eventually(reader, broker, lambda depth: depth is not None and depth.ready == 0)
    assert depth is not None
    assert depth.unacked == 0
    assert depth.at - drained >= WRITTEN_WITHIN
    assert asked["management"] > 0


async def test_with_the_management_api_alone_a_drained_queue_comes_back_to_zero(
    statistics: Make, broker: Broker, job: aio_pika.Message
) -> None:
    policy = Policy(0, 10, 10, stabilization=timedelta(seconds=5), zero_after=timedelta(seconds=5))
    jobqueue = JobQueue(
        "leveret", "bench", "u", 3, Consumer("i", "a:b", 1), RetryPolicy(), timedelta(seconds=30), policy
    )
    cluster = Cluster()
    async with (
        operating(cluster, broker, statistics(metrics_port=free_port()), [jobqueue]),
        await open_connection(broker, "test") as connection,
        await connection.channel() as channel,
    ):
        await until(lambda: cluster.status != {} and cluster.condition("TopologyReady")[0] == "True")
        for _ in range(30):
            await channel.default_exchange.publish(job, QUEUE)
        await until(lambda: cluster.sizes[-1:] == [3])
        queue = await channel.get_queue(QUEUE, ensure=False)
        for _ in range(30):
            await (await queue.get()).ack()
        await until(lambda: cluster.sizes[-1] == 0)
    assert cluster.condition("MetricsFresh") == ("True", "Fresh")
    assert {decision["reason"] for decision in cluster.status["decisions"][:1]} == {"ProvenZero"}


async def test_a_queue_that_no_node_tells_of_is_looked_up(
    statistics: Make, rabbitmq: Server, broker: Broker, publisher: Publisher, asked: Counter[str]
) -> None:
    reader = statistics()
    await eventually(reader, broker, lambda depth: depth is not None)
    reading = await reader.read(broker, {QUEUE, "leveret.not-there"})
    assert asked["management"] == 2
    assert reading.rows[QUEUE].led
    assert "leveret.not-there" not in reading.depths
    reading = await reader.read(replace(broker, password="wrong"), {"leveret.not-there"})
    assert QUEUE in reading.depths
    assert "401" in str(reading.unlisted)


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
