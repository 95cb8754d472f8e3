"""Two relays on one outbox, with a clock that is moved: each job is published once, whatever the broker's alarms do."""

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
from leveret_producer.outbox.relay import FRESH, WINDOW, Relay, _Held
from leveret_producer.store.outbox import LEASE, Confirmed, Lease, Taken

START = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = "leveret.a"


@dataclass
class Outbox:
    """The rows of all replicas, as the database keeps them, and its clock."""

    now: float = 0.0
    leases: dict[UUID, datetime] = field(default_factory=dict)  # of what is not confirmed
    renewed: int = 0  # times
    released: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def time(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def insert(self, jobs: Iterable[Envelope], seconds: float) -> datetime:
        until = self.time() + timedelta(seconds=seconds)
        self.leases.update((job.id, until) for job in jobs)
        return until

    async def take(self, most: int, except_queues: Sequence[str] = ()) -> list[Taken]:
        await asyncio.sleep(0)
        free = [one for one, until in self.leases.items() if until <= self.time()][:most]
        until = self.insert(map(job, free), LEASE)
        return [Taken(job(one), Lease(one, until), False) for one in free]

    async def live(self, queues: Collection[str]) -> set[str]:
        return set(queues)

    async def mark(self, confirmed: Sequence[Confirmed]) -> int:
        await asyncio.sleep(0)
        return len([self.leases.pop(one.id, None) for one in confirmed])

    async def release(self, leases: Sequence[Lease], wait_seconds: float = 0) -> None:
        await self._end(leases, wait_seconds)
        self.released += 1

    async def renew(self, leases: Sequence[Lease]) -> list[Lease]:
        held = await self._end(leases, LEASE)
        self.renewed += 1
        return held

    async def _end(self, leases: Sequence[Lease], seconds: float) -> list[Lease]:
        await asyncio.sleep(0)
        ours = [one.id for one in leases if self.leases.get(one.id) == one.until]
        until = self.insert(map(job, ours), seconds)
        return [Lease(one, until) for one in ours]


class Connection(pretended_broker.Connection):
    """One that an alarm may block: it takes what is written to it, confirms nothing, and isn't ready."""

    def __init__(self) -> None:
        super().__init__()
        ready = self.answers.wait
        self.transport: Any = SimpleNamespace(connection=SimpleNamespace(ready=ready))
        self.arrived: list[str] = []

    def channel(self, **settings: bool) -> Any:
        channel = super().channel(**settings)

        async def get_exchange(name: str, *, ensure: bool) -> Any:
            async def publish(message: Any, routing_key: str, *, mandatory: bool) -> None:
                self.arrived.append(message.message_id)
                await self.answers.wait()

            return SimpleNamespace(publish=publish)

        channel.get_exchange = get_exchange  # type: ignore[method-assign]
        return channel


@dataclass
class Replica:
    outbox: Outbox
    connection: Connection = field(default_factory=Connection)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.relay = Relay(self.outbox, Metrics(), Bound(1_000_000), clock=lambda: self.outbox.now)  # type: ignore[arg-type]

    def accept(self, number: int) -> float:
        """Store jobs as a submit does; return the lease that they got."""
        jobs = [job(UUID(int=next(self.outbox.numbers))) for _ in range(number)]
        lease = self.relay.lease_for(len(jobs))
        until = self.outbox.insert(jobs, lease)
        if lease:
            self.relay.offer(jobs, until)
        return lease

    def blocked(self, raised: bool) -> None:
        (self.connection.answers.clear if raised else self.connection.answers.set)()


def job(id: UUID) -> Envelope:
    return Envelope(id, QUEUE, "t", b"1")


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


async def test_what_waits_in_memory_when_an_alarm_begins_is_published_once_by_whoever_can() -> None:
    outbox = Outbox()
    async with replicas(outbox, 2) as (one, other):
        one.blocked(True)  # which it is yet to notice
        assert one.accept(2_000) == LEASE
        await until(lambda: len(one.connection.arrived) == WINDOW)
        outbox.now = 15
        await until(lambda: one.relay.alarm.raised)
        await until(lambda: len(other.connection.arrived) == 2_000 - WINDOW)  # it has heard of no alarm
        outbox.now = LEASE + 5
        assert one.accept(1) == 0.0  # the other takes it
        await until(lambda: len(other.connection.arrived) == 2_001 - WINDOW)
        one.blocked(False)
        await until(lambda: not outbox.leases)
        assert twice(one, other) == set()


async def test_what_is_accepted_while_an_alarm_begins_is_given_back_at_once() -> None:
    outbox = Outbox()
    async with replicas(outbox, 2) as (one, other):
        new = [job(UUID(int=1))]
        assert one.relay.lease_for(1) == LEASE
        until_then = outbox.insert(new, LEASE)
        one.blocked(True)
        await until(lambda: one.relay.alarm.raised)
        one.relay.offer(new, until_then)
        await until(lambda: len(other.connection.arrived) == 1)
        one.blocked(False)
        await until(lambda: not outbox.leases)
        assert twice(one, other) == set()


async def test_a_lease_that_another_replica_has_by_now_is_left_to_it() -> None:
    outbox = Outbox()
    async with replicas(outbox, 1) as (one,):
        one.blocked(True)
        one.accept(2)
        await until(lambda: len(one.connection.arrived) == 2)
        await until(lambda: one.relay.alarm.raised)
        await until(lambda: outbox.renewed == 1)
        outbox.now = LEASE + 1  # as when the database was away, and nothing could be renewed
        theirs = outbox.insert([job(UUID(int=1))], LEASE)
        one.tasks[0].cancel()  # its connection ends
        await until(lambda: outbox.released == 1)
        assert outbox.leases == {UUID(int=1): theirs, UUID(int=2): outbox.time()}


async def test_what_waited_too_long_in_memory_is_left_to_whoever_has_it_by_now() -> None:
    outbox = Outbox()
    async with replicas(outbox, 1) as (one,):
        new = [job(UUID(int=number + 1)) for number in range(2)]
        old = outbox.insert(new, LEASE)
        outbox.now = FRESH + LEASE
        theirs = outbox.insert(new[:1], LEASE)
        one.relay._hold([_Held(job, Lease(job.id, old), since=0) for job in new])
        await until(lambda: outbox.released == 1)
        assert outbox.leases == {UUID(int=1): theirs, UUID(int=2): outbox.time()}
        assert one.connection.arrived == []
