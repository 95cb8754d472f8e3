"""Rows of an outbox, and replicas that publish them to connections without a broker; all share one clock."""

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pretended_broker

from leveret.jobs import Envelope
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.relay import Relay
from leveret_producer.store.outbox import LEASE, Lease, Publication, Taken
from leveret_producer.store.postgres import DatabaseUnavailable

START = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = "leveret.a"


@dataclass
class Outbox:
    """The rows of all replicas, as the database keeps them, and its clock."""

    now: float = 0.0
    leases: dict[UUID, datetime] = field(default_factory=dict)  # of what is not confirmed
    renewed: int = 0  # times
    away: bool = False  # for renewals
    released: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    queues: dict[UUID, str] = field(default_factory=dict)
    latency: float = 0.0  # s, of each statement, before and after
    marks: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: it takes none

    def __post_init__(self) -> None:
        self.marks.set()

    def time(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def insert(self, jobs: Iterable[Envelope], seconds: float) -> datetime:
        until = self.time() + timedelta(seconds=seconds)
        for one in jobs:
            self.leases[one.id], self.queues[one.id] = until, one.queue
        return until

    async def take(self, most: int, except_queues: Sequence[str] = (), reach: float | None = None) -> list[Taken]:
        await asyncio.sleep(self.latency)
        now = self.time()
        free = [
            job(one, self.queues[one])
            for one, until in self.leases.items()
            if until <= now and self.queues[one] not in except_queues
        ][:most]
        until = self.insert(free, LEASE)
        await asyncio.sleep(self.latency)
        return [Taken(one, Lease(one.id, until), False) for one in free]

    async def live(self, queues: Collection[str]) -> set[str]:
        return set(queues)

    async def mark(self, confirmed: Sequence[Publication]) -> set[UUID]:
        await self.marks.wait()
        return {one.id for one in confirmed if self.leases.pop(one.id, None)}

    async def release(self, leases: Sequence[Lease], waits: Sequence[float]) -> None:
        await self._end(leases, waits)
        self.released += 1

    async def renew(self, leases: Sequence[Lease]) -> dict[Lease, Lease]:
        if self.away:
            raise DatabaseUnavailable("away")
        held = await self._end(leases, [LEASE] * len(leases))
        self.renewed += 1
        return held

    async def _end(self, leases: Sequence[Lease], seconds: Sequence[float]) -> dict[Lease, Lease]:
        await asyncio.sleep(self.latency)
        ours = [
            (one, after) for one, after in zip(leases, seconds, strict=True) if self.leases.get(one.id) == one.until
        ]
        ended = {one: Lease(one.id, self.insert([job(one.id, self.queues[one.id])], after)) for one, after in ours}
        await asyncio.sleep(self.latency)
        return ended


class Connection(pretended_broker.Connection):
    """One that an alarm may block: it takes what is written to it, confirms nothing, and isn't ready."""

    def __init__(self) -> None:
        super().__init__()
        ready = self.answers.wait
        self.transport: Any = SimpleNamespace(connection=SimpleNamespace(ready=ready))
        self.arrived: list[str] = []
        self.silent: dict[str, asyncio.Event] = {}  # queues for which nothing is confirmed until then
        self.confirms_at: Callable[[float], float] = lambda sent: sent

    def channel(self, **settings: bool) -> Any:
        channel = super().channel(**settings)

        async def get_exchange(name: str, *, ensure: bool) -> Any:
            async def publish(message: Any, routing_key: str, *, mandatory: bool) -> None:
                self.arrived.append(message.message_id)
                await self.answers.wait()
                now = asyncio.get_running_loop().time()
                await asyncio.sleep(self.confirms_at(now) - now)
                if routing_key in self.silent:
                    await self.silent[routing_key].wait()

            return SimpleNamespace(publish=publish)

        channel.get_exchange = get_exchange  # type: ignore[method-assign]
        return channel


@dataclass
class Replica:
    outbox: Outbox
    connection: Connection = field(default_factory=Connection)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock, draw = (lambda: self.outbox.now), (lambda: 1.0)
        self.bound = Bound(1_000_000)
        self.relay = Relay(self.outbox, Metrics(), self.bound, clock, draw)  # type: ignore[arg-type]

    def accept(self, number: int, queue: str = QUEUE, *, took: float = 0) -> float:
        """Store jobs as a submit does, which takes so long; return the lease that they got."""
        jobs = [job(UUID(int=next(self.outbox.numbers)), queue) for _ in range(number)]
        asked_at, lease = self.relay.clock(), self.relay.lease_for(len(jobs))
        until = self.outbox.insert(jobs, lease)
        self.outbox.now += took
        if lease:
            self.offer(jobs, until, asked_at)
        return lease

    def offer(self, jobs: list[Envelope], until: datetime, asked_at: float) -> None:
        self.relay.offer(jobs, until, asked_at, self.bound.known(own=True))

    def blocked(self, raised: bool) -> None:
        (self.connection.answers.clear if raised else self.connection.answers.set)()


def job(id: UUID, queue: str = QUEUE) -> Envelope:
    return Envelope(id, queue, "t", b"1")


@contextlib.asynccontextmanager
async def replicas(outbox: Outbox, number: int) -> AsyncIterator[list[Replica]]:
    them = [Replica(outbox) for _ in range(number)]
    for one in them:
        session = one.relay.session(one.connection)  # type: ignore[arg-type]
        one.tasks = [asyncio.create_task(session), asyncio.create_task(one.relay.run_ledger())]
    await until(lambda: all(one.relay.connected for one in them))
    yield them
    tasks = [task for one in them for task in one.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.01)


def twice(*them: Replica) -> set[str]:
    arrived = Counter(one for replica in them for one in replica.connection.arrived)
    return {one for one, times in arrived.items() if times > 1}
