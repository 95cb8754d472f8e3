"""A consumer process of each version on jobs that do nothing, with the default 10 slots and with 100, cold and warm.

Cold is a process that starts on a full queue: what it does from its first start to its last end. A consumer of 0.1.0 learns
how long its jobs run before it holds more of them than it has slots, and that takes half a minute. So each that is to be warm
runs as long as the whole measure does, and begins with a trickle of jobs. For a turn it is frozen until the queue is full:
then what is measured is consuming alone, and nobody publishes at the same time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from bench.against import Done, figures
from bench.measures import Figures, Measure, Turns
from bench.measures.broker_side import QUEUE, BrokerSide, broker_side, jobs
from bench.measures.consume import cold_rate, consuming, seconds_to_end
from bench.processes import Process
from bench.servers import Place, Servers
from bench.versions import TODAY, Version
from leveret import topology

JOBS, COLD_JOBS = 4_000, 2_000
SLOTS = (10, 100)
WARM_UP = 40.0  # s: the 30 that 0.1.0 waits, and the 5 before its first and its last look
TRICKLE, TRICKLES_EVERY = 5, 0.25  # s


@dataclass(frozen=True, slots=True)
class _Consumer:
    slots: int
    process: Process
    broker: BrokerSide

    async def has_all(self) -> bool:
        return await self.broker.ready(QUEUE) == 0

    async def turn(self) -> Figures:
        with self.process.frozen():
            await self.broker.empty(QUEUE, topology.EVENTS)
            await self.broker.fill(QUEUE, jobs(JOBS))
            cpu = self.process.cpu_seconds()
        seconds = await seconds_to_end(self.process, self.broker, JOBS)
        return figures(f"consume-{self.slots}", Done(JOBS, seconds, self.process.cpu_seconds() - cpu))


@dataclass(frozen=True, slots=True)
class _Cold:
    slots: int
    place: Place
    version: Version

    async def turn(self) -> Figures:
        async with broker_side(self.place.broker) as broker:
            rate = await cold_rate(self.place, broker, self.slots, "noop:handlers", COLD_JOBS, self.version)
        return {f"cold-{self.slots}.rate": rate}


def consume(base: Version) -> Measure:
    compared = "no-op jobs of one consumer with 10 and with 100 slots, cold and warm"
    warm = (f"consume-{slots}.{figure}" for slots in SLOTS for figure in ("rate", "cpu"))
    names = (*warm, *(f"cold-{slots}.rate" for slots in SLOTS))
    return Measure("consume", compared, partial(_open, base), names, weight=3)


@contextlib.asynccontextmanager
async def _open(base: Version, servers: Servers) -> AsyncIterator[Turns]:
    async with contextlib.AsyncExitStack() as stack:
        versions = (("today", TODAY), ("base", base))
        ours, theirs = [
            [await stack.enter_async_context(_consumer(servers, name, slots, version)) for slots in SLOTS]
            for name, version in versions
        ]
        await asyncio.gather(*(_warm_up(one) for one in (*ours, *theirs)))
        our_cold, their_cold = (
            [_Cold(slots, servers.place(f"cold_{slots}_{name}"), version) for slots in SLOTS]
            for name, version in versions
        )
        yield Turns(partial(_turn, [*ours, *our_cold]), partial(_turn, [*theirs, *their_cold]))


@contextlib.asynccontextmanager
async def _consumer(servers: Servers, name: str, slots: int, version: Version) -> AsyncIterator[_Consumer]:
    place = servers.place(f"consume_{slots}_{name}")
    async with broker_side(place.broker) as broker, consuming(place, slots, "noop:handlers", version) as process:
        yield _Consumer(slots, process, broker)


async def _warm_up(one: _Consumer) -> None:
    await one.broker.burst(topology.JOBS, QUEUE, jobs(TRICKLE))
    await one.process.until("it consumes", one.has_all)
    for _ in range(round(WARM_UP / TRICKLES_EVERY)):
        await one.broker.burst(topology.JOBS, QUEUE, jobs(TRICKLE))
        await asyncio.sleep(TRICKLES_EVERY)


async def _turn(consumers: Sequence[_Consumer | _Cold]) -> Figures:
    found: dict[str, float] = {}
    for one in consumers:
        found |= await one.turn()
    return found
