"""One consumer process with 100 slots on jobs that do nothing, beside a bare consumer with the same prefetch.

The jobs wait in the queue before the consumer starts. Its rate is taken from the events that it published, from the
first start to the last end: so starting the process doesn't count, and every job is seen to have ended. No producer runs
meanwhile; the events are read when the queue is empty.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from uuid import UUID

from aio_pika.abc import AbstractIncomingMessage

from bench import references
from bench.measures import Measure, Turns, rates
from bench.measures.broker_side import BARE, QUEUE, BrokerSide, broker_side, jobs
from bench.processes import Process, running
from bench.servers import Place, Servers
from bench.versions import TODAY, Version
from leveret import events, topology
from leveret.jobs import State

JOBS = 5_000
SLOTS = 100


@contextlib.asynccontextmanager
async def _open(servers: Servers) -> AsyncIterator[Turns]:
    place = servers.place("consume")
    async with broker_side(place.broker) as broker:
        yield rates("consume", partial(_leveret, place, broker), partial(_bare, broker))


async def _leveret(place: Place, broker: BrokerSide) -> float:
    return await cold_rate(place, broker, SLOTS, "examples.bench.handlers:handlers", JOBS)


async def cold_rate(
    place: Place, broker: BrokerSide, slots: int, handlers: str, count: int, version: Version = TODAY
) -> float:
    """Return the jobs/s of a consumer that starts on so many no-op jobs."""
    await broker.empty(QUEUE, topology.EVENTS)
    await broker.fill(QUEUE, jobs(count))
    async with consuming(place, slots, handlers, version) as consumer:
        return count / await seconds_to_end(consumer, broker, count)


@contextlib.asynccontextmanager
async def consuming(place: Place, slots: int, handlers: str, version: Version = TODAY) -> AsyncIterator[Process]:
    """Run a version's consumer."""
    settings = {
        "LEVERET_BROKER_URL": place.broker.url(),
        "LEVERET_QUEUE": QUEUE,
        "LEVERET_HANDLERS": handlers,
        "LEVERET_CONCURRENCY": str(slots),
        "LEVERET_PROBE_PORT": "0",
        "LEVERET_POD": "bench",
        "LEVERET_LOG": "json",
    }
    async with running("leveret_consumer", settings, version) as consumer:
        yield consumer


async def seconds_to_end(consumer: Process, broker: BrokerSide, count: int) -> float:
    """Wait until so many jobs have ended; return the seconds from the first one's start to the last one's end."""

    async def taken() -> bool:
        return await broker.ready(QUEUE) == 0

    await consumer.until("all jobs are taken", taken)
    async with _listening(broker) as witness:

        async def ended() -> bool:
            return len(witness.ended) >= count

        await consumer.until("all jobs have ended", ended)
    return witness.seconds()


async def _bare(broker: BrokerSide) -> float:
    # A busy broker that has read the last acks may forget them when the channel closes: those messages come back.
    await broker.empty(BARE)
    await broker.fill(BARE, jobs(JOBS))
    return await references.consume(broker.connection, BARE, JOBS, prefetch=SLOTS)


class Witness:
    """When the first job started, and when each ended."""

    def __init__(self) -> None:
        self.ended: dict[UUID, datetime] = {}
        self._first: datetime | None = None

    async def hear(self, message: AbstractIncomingMessage) -> None:
        _, said = events.decode(message.routing_key or "", message.body)
        for event in said if isinstance(said, list) else ():
            if event.started_at and (self._first is None or event.started_at < self._first):
                self._first = event.started_at
            if event.state is State.SUCCEEDED:
                self.ended.setdefault(event.id, event.at)

    def seconds(self) -> float:
        assert self._first is not None
        return (max(self.ended.values()) - self._first).total_seconds()


@contextlib.asynccontextmanager
async def _listening(broker: BrokerSide) -> AsyncIterator[Witness]:
    witness = Witness()
    channel = await broker.connection.channel(publisher_confirms=False)
    await (await channel.get_queue(topology.EVENTS, ensure=False)).consume(witness.hear, no_ack=True)
    yield witness
    await asyncio.sleep(0)
    await channel.close()


CONSUME = Measure("consume", "no-op jobs of one consumer ÷ bare aio-pika consumer, an ack for each", _open)
