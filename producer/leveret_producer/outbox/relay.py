"""Bring the outbox to the broker: at least once, oldest first, many in flight, and nothing locked meanwhile.

What this replica accepted it publishes at once, from memory; what is left over (its replica died, the broker was away,
there was no room) any replica takes when the lease has run out. Under an alarm of the broker it keeps what is on its way
to it, and gives back what isn't. A job that came back, since the broker had no queue for
it, is published again once its queue is there, and holds up its own queue only. What becomes of each job is written in
batches; if the database is away it is written when it's back, and a replica that dies in between leaves rows that are
published a second time, never rows that are lost.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog
from aio_pika.abc import AbstractConnection

from leveret import topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.publisher import NotConfirmed, Publisher, Unroutable
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.gone import GoneQueues
from leveret_producer.outbox.ledger import Ledger
from leveret_producer.outbox.together import together
from leveret_producer.store.outbox import LEASE, Lease, OutboxRows, Taken
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain

log = structlog.get_logger(__name__)

WINDOW = 400  # publishes in flight
LANES = 8  # channels: on one, each publish waits until the one before it is written
ROOM_JOBS = 20_000  # accepted jobs that wait in memory; more wait in the database
ROOM_BYTES = 64 << 20
TAKE = 500  # rows leased at once
LOOK_EVERY = 0.5  # s between looks for rows whose lease ran out
REFUSED_PAUSE = 1.0  # s
RENEW_EVERY = 10.0  # s, the leases of what the broker holds back under an alarm
FRESH = 20.0  # s; a job that has waited longer than this in memory may lose its lease to another replica


@dataclass(frozen=True, slots=True)
class _Held:
    """A job that this replica is to publish."""

    job: Envelope
    lease: Lease
    since: float  # by our clock
    returned: int = 0  # how often it came back before


class Relay:
    def __init__(
        self, rows: OutboxRows, metrics: Metrics, bound: Bound, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._rows = rows
        self._metrics = metrics
        self._ledger = Ledger(rows, bound)
        self._waiting: asyncio.Queue[_Held] = asyncio.Queue()
        self._waiting_bytes = 0
        self._in_hand: Counter[str] = Counter()  # per queue: in memory or in flight
        self._flying: dict[UUID, _Held] = {}
        self._arrived: Counter[str] = Counter()  # per queue: stored earlier, due since the last asking
        self._gone = GoneQueues()
        self._leaving = False
        self._alarmed = asyncio.Event()
        self.alarm = Alarm(self._note_alarm)
        self.connected = False

    # -- for the submit path

    def lease_for(self, jobs: int) -> float:
        """Return the lease to store new jobs with, in seconds: 0 if this replica can't publish them at once."""
        room = self._waiting.qsize() + jobs <= ROOM_JOBS and self._waiting_bytes < ROOM_BYTES
        return LEASE if self.connected and not self.alarm.raised and not self._leaving and room else 0.0

    def offer(self, jobs: Sequence[Envelope], leased_until: datetime) -> None:
        """Publish stored jobs, which this replica holds the lease of."""
        now = self._clock()
        self._hold([_Held(job, Lease(job.id, leased_until), now) for job in jobs])

    def unconfirmed(self) -> Mapping[str, int]:
        """Return how many jobs of each queue this replica is publishing."""
        return {queue: jobs for queue, jobs in self._in_hand.items() if jobs > 0}

    def arrivals(self) -> Mapping[str, int]:
        """Return how many jobs of each queue came due and were taken by this replica since it was asked last."""
        arrived, self._arrived = self._arrived, Counter()
        return arrived

    # -- tasks

    async def session(self, connection: AbstractConnection) -> None:
        """Publish over one connection until it ends."""
        declared = Declared(connection, topology.shared())
        lanes = [await Publisher.open(connection, alarm=self.alarm, declared=declared) for _ in range(LANES)]
        self.connected = True
        self._note_alarm(raised=False)
        try:
            await together(
                self.alarm.watch(connection),
                self._hold_leases(),
                self._take_over(connection),
                *(self._publish_each(lanes[n % LANES]) for n in range(WINDOW)),
            )
        finally:
            self.connected = False
            self._metrics.broker_blocked.value = None
            self._give_back(in_flight=True)

    async def run_ledger(self) -> None:
        """Write down what became of the jobs, for ever."""
        await self._ledger.run()

    async def flush(self, seconds: float) -> None:
        """Wait until everything in hand is published and marked, at most so long; then give the rest back."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._waiting.empty() or self._flying:  # noqa: ASYNC110 - ends once, at a stop
                    await asyncio.sleep(0.02)
        self._give_back(in_flight=True)
        await self._ledger.close(seconds)

    # -- inside

    def _hold(self, held: Sequence[_Held]) -> None:
        if not self.connected or self.alarm.raised:  # since it was leased
            self._ledger.released([one.lease for one in held])
            return
        for one in held:
            self._waiting.put_nowait(one)
        self._waiting_bytes += sum(len(one.job.body) for one in held)
        self._in_hand.update(one.job.queue for one in held)

    async def _take_over(self, connection: AbstractConnection) -> None:
        """Lease rows that nobody publishes; pause when there are none."""
        while True:
            taken = 0
            if self._waiting.qsize() < WINDOW and not self._leaving and not self.alarm.raised:
                try:
                    found = await self._rows.take(TAKE, self._gone.names())
                    came_back = {one.job.queue for one in found if one.returned}
                    live = await self._rows.live(came_back) if came_back else ()
                except (DatabaseUnavailable, TryAgain) as problem:
                    log.debug("the outbox can't be read", because=str(problem))
                else:
                    taken, now = len(found), self._clock()
                    self._arrived.update(one.job.queue for one in found if one.arrived)
                    # One that no JobQueue has any more is not waited for: its jobs become dead letters.
                    await self._gone.look(connection, live)
                    self._hold([_Held(one.job, one.lease, now, one.returned) for one in self._publishable(found)])
            if taken < TAKE:
                await asyncio.sleep(LOOK_EVERY)

    def _note_alarm(self, raised: bool) -> None:
        self._metrics.broker_blocked.value = float(raised)
        if raised:
            self._alarmed.set()
            self._give_back()
        else:
            self._alarmed.clear()

    async def _hold_leases(self) -> None:
        """Keep what the broker holds back under an alarm: another replica would publish it a second time."""
        while True:
            await self._alarmed.wait()
            try:
                renewed = await self._rows.renew([held.lease for held in self._flying.values()])
            except (DatabaseUnavailable, TryAgain) as problem:
                log.debug("leases can't be renewed", because=str(problem), jobs=len(self._flying))
            else:
                for lease in renewed:
                    if held := self._flying.get(lease.id):
                        self._flying[lease.id] = replace(held, lease=lease)
            await asyncio.sleep(RENEW_EVERY)

    def _publishable(self, found: Iterable[Taken]) -> list[Taken]:
        """Return what is to be published now; what has no queue waits for it, in the outbox."""
        gone = set(self._gone.names())
        if without := [one.lease for one in found if one.job.queue in gone]:
            self._ledger.released(without, self._gone.PAUSE)
        return [one for one in found if one.job.queue not in gone and one.job.id not in self._flying]

    async def _publish_each(self, publisher: Publisher) -> None:
        while True:
            await self.alarm.over()
            held = await self._waiting.get()
            job = held.job
            self._waiting_bytes -= len(job.body)
            if job.id in self._flying:
                self._let_go(job)  # it was taken anew, and is on its way; this lease runs out by itself
            elif self._clock() - held.since > FRESH:
                self._let_go(job)  # another one may have it by now
                self._ledger.released([held.lease])
            elif self._gone.has(job.queue):
                self._let_go(job)
                self._ledger.released([held.lease], self._gone.PAUSE)
            else:
                await self._publish(publisher, held)
                if publisher.is_closed:
                    raise BrokerGone("the channel was closed")

    async def _publish(self, publisher: Publisher, held: _Held) -> None:
        job = held.job
        self._flying[job.id] = held
        began = time.perf_counter()
        try:
            await publisher.publish(topology.JOBS, job.queue, wire.to_message(job))
        except Unroutable:  # the queue that takes what no other one does is deleted faster than it's declared
            self._gone.note(job.queue)
            self._ledger.released([self._land(held)], self._gone.PAUSE)
        except NotConfirmed as problem:
            self._ledger.released([self._land(held)], REFUSED_PAUSE)
            log.debug("not confirmed; the job stays in the outbox", job=str(job.id), because=str(problem))
        else:
            self._land(held)
            self._metrics.confirm_seconds.observe(time.perf_counter() - began)
            self._ledger.confirmed(job, held.returned)

    def _land(self, held: _Held) -> Lease:
        """Count a job as no longer on its way, and return its lease as it is by now."""
        self._let_go(held.job)
        return self._flying.pop(held.job.id, held).lease

    def _let_go(self, job: Envelope) -> None:
        self._in_hand[job.queue] -= 1
        if self._in_hand[job.queue] <= 0:
            del self._in_hand[job.queue]

    def _give_back(self, *, in_flight: bool = False) -> None:
        """Release what waits, and what is not confirmed, for another replica or for when the broker takes it."""
        left = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        self._waiting_bytes = 0
        if in_flight:
            left.extend(self._flying.values())
            self._flying.clear()
        for held in left:
            self._let_go(held.job)
        if left:
            self._ledger.released([held.lease for held in left])
