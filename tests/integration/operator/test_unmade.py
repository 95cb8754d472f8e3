"""A queue of Leveret's that the broker can't make: producer, consumer and operator work on, say so, and mend it themselves."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aio_pika
import httpx
import pytest
from consuming import consuming, in_states
from deletions import delete
from operator_link import until
from operators import Operators, jobqueues
from played import Cluster
from producers import Producer, eventually_true, known, producing, ready
from unmaking_broker import UnmakingBroker, unmaking

from leveret import topology
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database
from leveret.topology import CONTROL, EVENTS, EVENTS_DEAD, JOBS, UNROUTABLE, delay_exchange
from leveret_operator.broker_statistics import BrokerStatistics

JOBQUEUES = jobqueues(2)
QUEUE, NEIGHBOUR = (one.queue for one in JOBQUEUES)
LEVEL = delay_exchange(0)
RETRIES = 200

pytestmark = pytest.mark.timeout(300)


@dataclass
class World:
    """All three processes beside a broker that will be unable to make some queues."""

    front: UnmakingBroker
    operators: Operators
    database: Database
    folder: Path
    running: AsyncExitStack
    producer: Producer
    says: str = ""  # where the consumer does

    async def start(self) -> None:
        await self.running.enter_async_context(self.operators.one())
        self.producer = await self.running.enter_async_context(producing(self.front.broker, self.database))
        self.says = await self.running.enter_async_context(consuming(self.front.broker, self.log, QUEUE))
        await until(self.operators.all_well)
        await ready(self.producer)
        await known(self.producer, QUEUE)
        await self.consumer_says("consuming", ready=True)

    @property
    def log(self) -> Path:
        return self.folder / "consumer.log"

    async def can_not_make(self, *queues: str) -> None:
        """From now on; what is there is deleted."""
        self.front.queues |= {*queues}
        async with await open_connection(self.front.server, "vandal") as vandal:
            await delete(vandal, *(f"queue {queue}" for queue in queues))

    async def submit(self, *jobs: tuple[str, dict[str, object]]) -> list[str]:
        witness = {"witness": str(self.folder / "witness")}
        bodies = [{"type": kind, "payload": witness | payload} for kind, payload in jobs]
        answer = (await self.producer.submit(*bodies, queue=QUEUE)).json()
        return [one["id"] for one in answer.get("jobs", [answer])]

    async def consumer_says(self, text: str, *, ready: bool) -> None:
        async def so() -> bool:
            async with httpx.AsyncClient() as http:
                try:
                    answer = await http.get(self.says)
                except httpx.TransportError:
                    return False
            found[:] = [answer.text]
            return (answer.status_code == 200) is ready and text in answer.json()["says"]

        found: list[str] = []
        try:
            await eventually_true(so, f"the consumer says {text}")
        except AssertionError as problem:
            raise AssertionError(f"{problem}: {found}; its log:\n{self.log.read_text()}") from None

    async def producer_says(self, text: str) -> None:
        async def so() -> bool:
            answer = await self.producer.says()
            return bool(answer["ok"]) and text in str(answer["says"])

        await eventually_true(so, f"the producer says {text}")

    def topology(self, jobqueue: int = 0) -> tuple[str, str]:
        return self.operators.cluster.condition("TopologyReady", JOBQUEUES[jobqueue].name)

    async def told(self, status: str, reason: str) -> None:
        await until(lambda: self.topology() == (status, reason))

    async def mended(self) -> None:
        """Without a restart of ours, or of the broker's."""
        self.front.queues.clear()
        await self.told("True", "Declared")
        await until(self.operators.all_well)


@pytest.fixture
async def world(
    broker: Broker, database: Database, statistics: Callable[..., BrokerStatistics], tmp_path: Path
) -> AsyncIterator[World]:
    (tmp_path / "witness").touch()
    async with unmaking(broker) as front, AsyncExitStack() as running:
        operators = Operators(Cluster(), front.broker, statistics(), JOBQUEUES)
        yield World(front, operators, database, tmp_path, running, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("queue", [LEVEL, CONTROL, UNROUTABLE, EVENTS_DEAD])
async def test_jobs_run_and_are_recorded_while_a_shared_queue_can_not_be_made(world: World, queue: str) -> None:
    await world.start()
    await world.can_not_make(queue)
    jobs = await world.submit(("sleep", {}), ("fail-slowly", {"times": 1}), ("sleep", {"seconds": 1}))
    await in_states(world.producer, jobs, "succeeded", "succeeded", "succeeded")
    await world.told("True", "QueueNotMade")
    assert world.operators.cluster.condition("Ready", JOBQUEUES[0].name)[0] == "True"
    if queue in (LEVEL, CONTROL):  # that it needs itself
        await world.consumer_says(queue, ready=True)
    assert world.front.refused[queue]
    # More than a consumer holds: a retry that finds no level holds up nobody.
    fails: tuple[str, dict[str, object]] = ("fail-slowly", {"times": 1})
    jobs = await world.submit(*[fails] * RETRIES, ("sleep", {}))
    await in_states(world.producer, jobs, *["succeeded"] * len(jobs))
    await world.mended()


async def test_all_begin_while_a_delay_level_can_not_be_made(world: World) -> None:
    world.front.queues |= {LEVEL}
    await world.start()
    await world.producer_says(LEVEL)
    jobs = await world.submit(("sleep", {}), ("fail-slowly", {"times": 1}))
    await in_states(world.producer, jobs, "succeeded", "succeeded")
    await world.consumer_says(LEVEL, ready=True)
    assert world.topology() == ("True", "QueueNotMade")
    await world.mended()


async def test_jobs_run_and_are_recorded_later_while_the_events_queue_can_not_be_made(world: World) -> None:
    await world.start()
    await world.can_not_make(EVENTS)
    witness = world.folder / "witness"
    # What waits in the store lives in its event alone; the consumer finds by this one that there is no queue for it.
    late = str(uuid4())
    message = aio_pika.Message(
        json.dumps({"witness": str(witness)}).encode(), type="sleep", message_id=late, headers={"leveret-delay": "2s"}
    )
    async with await open_connection(world.front.broker, "client") as connection:
        await (await Publisher.open(connection)).publish(JOBS, QUEUE, message)
    jobs = await world.submit(*[("sleep", {})] * 300)
    await until(lambda: len([line for line in witness.read_text().splitlines() if line.startswith("end")]) == 301)
    await world.told("True", "QueueNotMade")
    await world.mended()
    # Put back without a hand.
    await in_states(world.producer, [*jobs, late], *["succeeded"] * 301)
    async with await open_connection(world.front.broker, "test") as connection, connection.channel() as channel:
        there = await channel.declare_queue(EVENTS_DEAD, passive=True)
        assert there.declaration_result.message_count == 0


async def test_a_job_queue_that_can_not_be_made_holds_up_no_other(world: World) -> None:
    world.front.queues |= {NEIGHBOUR}
    await world.running.enter_async_context(world.operators.one())
    await until(lambda: world.topology(1) == ("False", "QueueNotMade"))
    await world.told("True", "Declared")
    refused = world.front.refused[NEIGHBOUR]
    await until(lambda: world.front.refused[NEIGHBOUR] > refused + 1)
    assert world.operators.cluster.condition("BrokerReachable", JOBQUEUES[0].name) == ("True", "Connected")
    world.front.queues.clear()
    await until(world.operators.all_well)
    async with await open_connection(world.front.server, "test") as connection, connection.channel() as channel:
        for one in topology.for_queue(NEIGHBOUR).queues:
            await channel.declare_queue(one.name, passive=True)
