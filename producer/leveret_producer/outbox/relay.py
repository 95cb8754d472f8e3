"""Bring the outbox to the broker: at least once, oldest first, many in flight, and nothing locked meanwhile.

What this replica accepted it publishes at once, from memory; what is left over (its replica died, the broker was away,
there was no room) any replica takes when the lease has run out. A job that can't be routed holds up its own queue only.
What becomes of each job is written in batches; if the database is away it is written when it's back, and a replica that
dies in between leaves rows that are published a second time, never rows that are lost.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection

from leveret import topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher, Unroutable
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.ledger import Ledger
from leveret_producer.outbox.together import together
from leveret_producer.store.outbox import LEASE, OutboxRows
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain

log = structlog.get_logger(__name__)

WINDOW = 400  # publishes in flight
LANES = 8  # channels: on one, each publish waits until the one before it is written
ROOM_JOBS = 20_000  # accepted jobs that wait in memory; more wait in the database
ROOM_BYTES = 64 << 20
TAKE = 500  # rows leased at once
LOOK_EVERY = 0.5  # s between looks for rows whose lease ran out
UNROUTABLE_PAUSE = 5.0  # s
REFUSED_PAUSE = 1.0  # s
FRESH = 20.0  # s; a job that has waited longer than this in memory may lose its lease to another replica


class Relay:
    def __init__(self, rows: OutboxRows, metrics: Metrics, bound: Bound) -> None:
        self._rows = rows
        self._metrics = metrics
        self._ledger = Ledger(rows, bound)
        self._waiting: asyncio.Queue[tuple[float, Envelope]] = asyncio.Queue()  # with the time when its lease began
        self._waiting_bytes = 0
        self._in_hand: Counter[str] = Counter()  # per queue: in memory or in flight
        self._flying: dict[UUID, Envelope] = {}
        self._arrived: Counter[str] = Counter()  # per queue: stored earlier, due since the last asking
        self._blocked: dict[str, float] = {}  # queue → until when it isn't tried
        self._leaving = False
        self.connected = False

    # -- for the submit path

    def lease_for(self, jobs: int) -> float:
        """Return the lease to store new jobs with, in seconds: 0 if this replica can't publish them at once."""
        room = self._waiting.qsize() + jobs <= ROOM_JOBS and self._waiting_bytes < ROOM_BYTES
        return LEASE if self.connected and not self._leaving and room else 0.0

    def offer(self, jobs: Sequence[Envelope]) -> None:
        """Publish stored jobs, which this replica holds the lease of."""
        now = time.monotonic()
        for job in jobs:
            self._waiting.put_nowait((now, job))
        self._waiting_bytes += sum(len(job.body) for job in jobs)
        self._in_hand.update(job.queue for job in jobs)

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
        lanes = [await connection.channel(publisher_confirms=True, on_return_raises=True) for _ in range(LANES)]
        self.connected = True
        try:
            await together(self._take_over(), *(self._publish_each(lanes[one % LANES]) for one in range(WINDOW)))
        finally:
            self.connected = False
            self._give_back()

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
        self._give_back()
        await self._ledger.close(seconds)

    # -- inside

    async def _take_over(self) -> None:
        """Lease rows that nobody publishes; pause when there are none."""
        while True:
            taken = 0
            if self._waiting.qsize() < WINDOW and not self._leaving:
                try:
                    found = await self._rows.take(TAKE, self._unroutable())
                except (DatabaseUnavailable, TryAgain) as problem:
                    log.debug("the outbox can't be read", because=str(problem))
                else:
                    taken = len(found)
                    self._arrived.update(one.job.queue for one in found if one.arrived)
                    self.offer([one.job for one in found if one.job.id not in self._flying])
            if taken < TAKE:
                await asyncio.sleep(LOOK_EVERY)

    async def _publish_each(self, channel: AbstractChannel) -> None:
        publisher = Publisher(channel)
        while True:
            leased_at, job = await self._waiting.get()
            self._waiting_bytes -= len(job.body)
            if job.id in self._flying or time.monotonic() - leased_at > FRESH:
                self._let_go(job)  # another one may have it by now
                self._ledger.released([job.id])
            elif job.queue in self._blocked and job.queue in self._unroutable():
                self._let_go(job)
                self._ledger.released([job.id], UNROUTABLE_PAUSE)
            else:
                await self._publish(publisher, job)
                if channel.is_closed:
                    raise BrokerGone("the channel was closed")

    async def _publish(self, publisher: Publisher, job: Envelope) -> None:
        self._flying[job.id] = job
        began = time.perf_counter()
        try:
            await publisher.publish(topology.JOBS, job.queue, wire.to_message(job))
        except Unroutable:
            self._land(job)
            self._ledger.released([job.id], UNROUTABLE_PAUSE)
            if job.queue not in self._unroutable():
                log.warning("the broker has no such queue; its jobs stay in the outbox", queue=job.queue)
            self._blocked[job.queue] = time.monotonic() + UNROUTABLE_PAUSE
        except NotConfirmed as problem:
            self._land(job)
            self._ledger.released([job.id], REFUSED_PAUSE)
            log.debug("not confirmed; the job stays in the outbox", job=str(job.id), because=str(problem))
        else:
            self._land(job)
            self._blocked.pop(job.queue, None)
            self._metrics.confirm_seconds.observe(time.perf_counter() - began)
            self._ledger.confirmed(job)

    def _unroutable(self) -> list[str]:
        """Return the queues that the broker did not have a moment ago."""
        now = time.monotonic()
        self._blocked = {queue: until for queue, until in self._blocked.items() if until > now}
        return list(self._blocked)

    def _land(self, job: Envelope) -> None:
        self._flying.pop(job.id, None)
        self._let_go(job)

    def _let_go(self, job: Envelope) -> None:
        self._in_hand[job.queue] -= 1
        if self._in_hand[job.queue] <= 0:
            del self._in_hand[job.queue]

    def _give_back(self) -> None:
        """Release what was not confirmed, for the next connection or another replica."""
        left = list(self._flying)
        while not self._waiting.empty():
            left.append(self._waiting.get_nowait()[1].id)
        self._waiting_bytes = 0
        self._flying.clear()
        self._in_hand.clear()
        if left:
            self._ledger.released(left)
