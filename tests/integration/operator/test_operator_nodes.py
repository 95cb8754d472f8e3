"""A broker of three nodes behind one address: each queue's leader is on one of them, and only that one counts it."""

import asyncio
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import aio_pika
import aiohttp
import pytest
from broker_cluster import NODES, BrokerCluster, broker_cluster
from containers import docker, free_port
from operator_link import now, operating, until
from played import Cluster

from leveret.rabbitmq.connection import open_connection
from leveret.retry import RetryPolicy
from leveret.scaling.decide import Policy
from leveret.settings import Broker
from leveret_operator.broker_statistics import BrokerStatistics
from leveret_operator.jobqueue import Consumer, JobQueue

POLICY = Policy(0, 10, 10, stabilization=timedelta(seconds=5), zero_after=timedelta(seconds=5))
JOBQUEUES = [
    JobQueue("leveret", f"q{n}", f"u{n}", 3, Consumer("i", "a:b", 1), RetryPolicy(), timedelta(seconds=30), POLICY)
    for n in range(6)
]
JOBS = 30  # in a queue: work for three replicas


@dataclass
class Deployments(Cluster):
    """Keeps each Deployment's sizes apart."""

    sizes_of: dict[str, list[int]] = field(default_factory=dict)  # by the JobQueue's name

    async def scale(self, deployment: str, replicas: int, *, owned: bool = False) -> int:
        self.sizes_of.setdefault(deployment.removesuffix("-consumer"), [1]).append(replicas)
        return await super().scale(deployment, replicas, owned=owned)

    def have(self, replicas: int, names: set[str]) -> bool:
        return all(self.sizes_of.get(name, [1])[-1] == replicas for name in names)


@pytest.fixture
def nodes() -> Iterator[BrokerCluster]:
    with broker_cluster() as cluster:
        yield cluster


@pytest.fixture
async def broker(nodes: BrokerCluster) -> AsyncIterator[Broker]:
    async with nodes.behind_one_address() as broker:
        yield broker


async def fill(broker: Broker, names: set[str]) -> None:
    async with await open_connection(broker, "producer") as connection, await connection.channel() as channel:
        job = aio_pika.Message(b"{}", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        for name in sorted(names) * JOBS:
            await channel.default_exchange.publish(job, f"leveret.{name}")


async def drain(broker: Broker, names: set[str]) -> None:
    async with await open_connection(broker, "consumer") as connection, await connection.channel() as channel:
        for name in sorted(names):
            queue = await channel.get_queue(f"leveret.{name}", ensure=False)
            for _ in range(JOBS):
                await (await queue.get()).ack()


async def only_names_that_are_true_are_used(
    nodes: BrokerCluster, broker: Broker, read_by: Callable[..., BrokerStatistics]
) -> None:
    """Without the management API: nodes are remembered by their answers, and then asked by their names."""

    async def misleading(host: str) -> list[str]:
        return await nodes.resolve({"n1": "n2", "n2": "n1", "n3": "127.0.0.1"}.get(host, host))

    async def told(reader: BrokerStatistics) -> int:
        return len({f"leveret.{jobqueue.name}" for jobqueue in JOBQUEUES} & (await reader.read(broker)).depths.keys())

    reader = read_by(resolve=nodes.resolve)
    async with asyncio.timeout(60):
        while await told(reader) < len(JOBQUEUES):
            pass
    reader = read_by(resolve=misleading)
    assert {await told(reader) for _ in range(12)} == {2}, (
        "who answers at the Secret's host is believed, and no one else"
    )


@pytest.mark.timeout(300)
async def test_every_queue_comes_back_to_zero_and_a_node_that_stops_is_named(
    nodes: BrokerCluster, broker: Broker
) -> None:
    cluster, asked, everyone = Deployments(), Counter[str](), {jobqueue.name for jobqueue in JOBQUEUES}

    def message(name: str) -> str:
        entries: list[Any] = cluster.statuses[name]["conditions"]
        return next(str(one["message"]) for one in entries if one["type"] == "MetricsFresh")

    async with aiohttp.ClientSession() as http:
        read_by = functools.partial(
            BrokerStatistics, http, metrics_port=15692, clock=now, asked=lambda kind: asked.update([kind])
        )
        statistics = read_by(management_port=15672, resolve=nodes.resolve)
        async with operating(cluster, broker, statistics, JOBQUEUES):
            await until(lambda: all(cluster.condition("TopologyReady", name)[0] == "True" for name in everyone))
            led = dict(zip(sorted(everyone), itertools.cycle(NODES)))
            await asyncio.to_thread(nodes.lead, {f"leveret.{name}": node for name, node in led.items()})
            await fill(broker, everyone)
            await until(lambda: cluster.have(3, everyone))
            await drain(broker, everyone)
            await until(lambda: cluster.have(0, everyone))
            assert {cluster.condition("MetricsFresh", name) for name in everyone} == {("True", "Fresh")}
            lookups, busy, drained = asked["management"], {"q0", "q1", "q2"}, "q3"
            await fill(broker, busy | {drained})
            await until(lambda: cluster.have(3, busy | {drained}))
            assert asked["management"] == lookups, "the nodes tell of all"
            sizes = {name: list(cluster.sizes_of[name]) for name in busy}
            await only_names_that_are_true_are_used(
                nodes, broker, functools.partial(read_by, management_port=free_port())
            )

            stopped = led["q1"]
            await asyncio.to_thread(docker, "kill", nodes.servers[stopped].name)
            there = next(address for node, address in nodes.addresses.items() if node != stopped)
            await drain(replace(broker, host=there), {drained})
            named = f"rabbit@{stopped} does not answer"
            await until(lambda: all(named in message(name) for name in everyone))
            assert {cluster.condition("MetricsFresh", name) for name in everyone} == {("True", "NodesSilent")}
            await until(lambda: cluster.have(0, everyone - busy))
            assert {name: cluster.sizes_of[name] for name in busy} == sizes, "nothing is scaled in that has work"

            nodes.gone.add(stopped)
            last = next(node for node in NODES if node not in (stopped, "n1"))
            nodes.gone.add(last)
            await asyncio.to_thread(docker, "kill", nodes.servers[last].name)
            await until(
                lambda: all(cluster.condition("MetricsFresh", name) == ("False", "NoLeader") for name in everyone)
            )
            assert "and up is rabbit@" in message("q0")
            assert {name: cluster.sizes_of[name] for name in busy} == sizes
