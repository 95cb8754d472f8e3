"""The operator beside a real broker, its cluster played: it starts anew, and somebody deletes what it has declared."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from containers import Server, management
from deletions import Deleted, delete
from operator_link import until
from operators import Operators, jobqueues
from played import Cluster

from leveret.rabbitmq.connection import open_connection
from leveret.retry import LEVELS
from leveret.settings import Broker
from leveret.topology import DEAD, JOBS, Binding, dead_queue, delay_exchange, for_queue, shared
from leveret_operator.broker_statistics import BrokerStatistics

SERVED = 20
WATCHED = 60.0  # s
JOBQUEUES = jobqueues(SERVED)


@pytest.fixture
def operators(broker: Broker, statistics: Callable[..., BrokerStatistics]) -> Operators:
    return Operators(Cluster(), broker, statistics(), JOBQUEUES)


async def test_a_restart_beside_twenty_jobqueues_is_seen_by_nobody(operators: Operators) -> None:
    async with operators.one():
        await until(operators.all_well)
        await asyncio.sleep(10)  # what is worth a write is written
    before, cluster = operators.conditions(), operators.cluster
    cluster.told.clear()
    cluster.warned.clear()
    cluster.writes.clear()
    async with operators.one():
        await asyncio.sleep(WATCHED)
    assert operators.conditions() == before
    assert (cluster.told, cluster.warned) == ([], [])
    assert len(cluster.writes) == SERVED, "it did work"
    assert max(cluster.writes.values()) <= 3


@pytest.mark.timeout(300)
async def test_what_somebody_deletes_is_there_again_within_a_minute(
    operators: Operators, rabbitmq: Server, broker: Broker, subtests: pytest.Subtests
) -> None:
    one, other = JOBQUEUES[0].queue, JOBQUEUES[1].queue
    cases: dict[str, list[Deleted]] = {
        "exchanges": [f"exchange {JOBS}", f"exchange {DEAD}"],
        "bindings": [Binding(JOBS, one, one), Binding(DEAD, dead_queue(other), other)],
        "delay-levels": [f"queue {delay_exchange(0)}", f"exchange {delay_exchange(LEVELS - 1)}"],
        "dead-letter-queue": [f"queue {dead_queue(one)}"],
        "queue": [f"queue {other}"],
    }
    wanted = {
        (it.exchange, it.queue, it.key)
        for topology in (shared(), *(for_queue(jobqueue.queue) for jobqueue in JOBQUEUES))
        for it in topology.bindings
    }

    async def whole() -> bool:
        found: Any = await asyncio.to_thread(management, rabbitmq, f"bindings/{broker.vhost}")
        return wanted <= {(it["source"], it["destination"], it["routing_key"]) for it in found}

    async def whole_within_a_minute() -> bool:
        try:
            async with asyncio.timeout(60):
                while not await whole():  # noqa: ASYNC110 - the broker tells
                    await asyncio.sleep(0.5)
        except TimeoutError:
            return False
        return True

    def says_so() -> bool:
        return any(operators.cluster.condition("TopologyReady", it.name)[1] == "QueueNotMade" for it in JOBQUEUES)

    async with operators.one():
        await until(operators.all_well)
        for name, those in cases.items():
            with subtests.test(name):
                async with await open_connection(broker, "vandal") as vandal:
                    await delete(vandal, *those)
                if not await whole_within_a_minute():
                    # Deleted while it was declared, which a broker may not get over (`leaked_queue`): then that is told.
                    assert says_so()
                    await asyncio.to_thread(rabbitmq.stop)
                    await asyncio.to_thread(rabbitmq.start)
                    assert await whole_within_a_minute()
        await until(lambda: len(operators.cluster.warned) >= 2)
    told = "".join(operators.cluster.warned)
    assert f"QueueMissing of {JOBQUEUES[0].name}: {one}: its dead letters' queue" in told
    assert f"QueueMissing of {JOBQUEUES[1].name}: {other}: it was gone, and what was in it" in told
