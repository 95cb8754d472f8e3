"""Bring the outbox to the broker: at least once, oldest first, many in flight, and nothing locked meanwhile.

What this replica accepted it publishes at once, from memory; what is left over (its replica died, the broker was away,
there was no room) any replica takes when the lease has run out. A lease is kept for as long as its job waits or is on its
way: a confirm that is late, of a slow broker or under its alarm, is waited for while the connection lives, and what comes
later doesn't wait with it. Under an alarm what isn't on its way is given back. A job that came back, since the broker had
no queue for it, is published again once its queue is there, and holds up its own queue only. What becomes of each job is
written in batches; if the database is away it is written when it's back, and a replica that dies in between leaves rows
that are published a second time, never rows that are lost.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import structlog
from aio_pika.abc import AbstractConnection

from leveret import topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, NotConfirmed, Publisher, Unroutable
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound, Known
from leveret_producer.outbox.gone import GoneQueues
from leveret_producer.outbox.hand import Hand, Held
from leveret_producer.outbox.ledger import LONGEST_WAIT, Ledger
from leveret_producer.outbox.looks import Looks
from leveret_producer.outbox.together import together, whole
from leveret_producer.store.outbox import LEASE, Lease, OutboxRows, Publication, Taken
from leveret_producer.store.postgres import DatabaseUnavailable, TookTooLong, TryAgain

log = structlog.get_logger(__name__)

WINDOW = 400  # publishes in flight that may be confirmed any moment
LANES = 8  # channels: on one, each publish waits until the one before it is written
ROOM_JOBS = 20_000  # accepted jobs that wait in memory; more wait in the database
ROOM_BYTES = 64 << 20
TAKE = 500  # rows leased at once
LOOK_EVERY = 0.5  # s between looks for rows whose lease ran out
LATE = 5.0  # s; a publish that isn't confirmed by then takes no other one's place in the window
MOST_LATE = 10 * WINDOW
COUNT_EVERY = 1.0  # s between counts of those that are late
OPEN_LONG = (
    "see whether a transaction stays open: SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start"
)


class Relay:
    def __init__(
        self,
        rows: OutboxRows,
        metrics: Metrics,
        bound: Bound,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self._rows = rows
        self._metrics = metrics
        self._bound = bound
        self._ledger = Ledger(rows, bound, clock, draw)
        self._hand = Hand()
        self._calm_since = clock()  # without an alarm
        self._workers, self._wanted = 0, WINDOW
        self._arrived: Counter[str] = Counter()  # per queue: stored earlier, due since the last asking
        self._gone = GoneQueues(clock)
        self.looks = Looks()
        self._leaving = False
        self.alarm = Alarm(self._note_alarm)
        self.connected = False

    # -- for the submit path

    def lease_for(self, jobs: int) -> float:
        """Return the lease to store new jobs with, in seconds: 0 if this replica can't publish them at once."""
        room = self._hand.waiting + jobs <= ROOM_JOBS and self._hand.waiting_bytes < ROOM_BYTES
        return LEASE if self.connected and not self.alarm.raised and not self._leaving and room else 0.0

    def offer(self, jobs: Sequence[Envelope], leased_until: datetime, asked_at: float, known: Known) -> None:
        """Publish stored jobs, which this replica holds the lease of; it was asked for then, by `clock`."""
        self._hold([Taken(job, Lease(job.id, leased_until), False) for job in jobs], asked_at, known)

    def unconfirmed(self) -> Mapping[str, int]:
        """Return how many jobs of each queue this replica is publishing."""
        return self._hand.of_queues()

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
                self._take_over(connection),
                self._publish_all(lanes),
            )
        finally:
            self.connected = False
            self._metrics.broker_blocked.value = None
            self._give_back(on_their_way=True)

    async def run_ledger(self) -> None:
        """Write down what became of the jobs, and keep their leases, for ever."""
        await self._ledger.run()

    def no_mark(self) -> AbstractAsyncContextManager[None]:
        """Within this block the moment of a count is to be."""
        return self._ledger.no_mark()

    async def flush(self, seconds: float) -> None:
        """Wait until everything in hand is published and marked, at most so long; then give the rest back."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._hand:  # noqa: ASYNC110 - ends once, at a stop
                    await asyncio.sleep(0.02)
        self._give_back(on_their_way=True, longest_wait=0.0)
        await self._ledger.close(seconds)

    # -- inside

    def _hold(self, taken: Sequence[Taken], asked_at: float, known: Known) -> None:
        """Put jobs in the line; what is in hand already, since its lease ran out, keeps its place with the new lease."""
        leases = self._ledger.leases
        takes = self.connected and not self.alarm.raised  # else that was before
        for one in taken:
            publication = Publication.of(one.job, one.returned)
            if publication not in leases:
                if not takes or self._gone.has(one.job.queue):
                    self._ledger.released([one.lease])
                    continue
                self._hand.put(Held(one.job, publication, known))
            leases.hold(publication, one.lease, asked_at)

    async def _take_over(self, connection: AbstractConnection) -> None:
        """Lease rows that nobody publishes; pause when there are none."""
        while True:
            taken = 0
            if self._hand.waiting < WINDOW and not self._leaving and not self.alarm.raised:
                asked_at = self.clock()
                reach = self.looks.reach(asked_at)
                try:
                    found = await self._rows.take(TAKE, self._gone.names(), reach)
                    taken = len(found)
                    self.looks.ended(reach, asked_at, self.clock(), everything_taken=taken < TAKE)
                    self._arrived.update(one.job.queue for one in found if one.arrived)
                    self._hold([one for one in found if not one.returned], asked_at, self._bound.known(own=False))
                    came_back = [one for one in found if one.returned]
                    # One that no JobQueue has any more is not waited for: its jobs become dead letters.
                    live = await self._rows.live({one.job.queue for one in came_back}) if came_back else ()
                    await self._gone.look(connection, live)
                    self._hold(came_back, asked_at, self._bound.known(own=False))
                except TookTooLong as problem:
                    self.looks.failed(reach, asked_at, self.clock())
                    log.warning("looking through the outbox took too long", because=str(problem), remedy=OPEN_LONG)
                except (DatabaseUnavailable, TryAgain) as problem:
                    log.debug("the outbox can't be read", because=str(problem))
            if taken < TAKE:
                await asyncio.sleep(LOOK_EVERY)

    def _note_alarm(self, raised: bool) -> None:
        self._metrics.broker_blocked.value = float(raised)
        if raised:
            self._give_back()
        else:
            self._calm_since = self.clock()

    async def _publish_all(self, lanes: Sequence[Publisher]) -> None:
        """Publish a window at once, beside those that are late: they would stop what the broker takes at once."""
        self._workers = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wanted = WINDOW + (0 if self.alarm.raised else self._late())
                while self._workers < self._wanted:
                    tasks.create_task(whole(self._publish_each(lanes[self._workers % LANES])))
                    self._workers += 1
                await asyncio.sleep(COUNT_EVERY)

    def _late(self) -> int:
        """Return how many publishes are late; note queues that have as many of them as there is room for."""
        late = self._hand.late(self.clock() - LATE) if self.clock() - self._calm_since > LATE else Counter[str]()
        for queue, jobs in late.items():
            if jobs >= WINDOW:
                self._gone.note(queue, "the broker is late with confirms", 2 * COUNT_EVERY)
        return min(late.total(), MOST_LATE)

    async def _publish_each(self, publisher: Publisher) -> None:
        while self._workers <= self._wanted:
            await self.alarm.over()
            held = await self._hand.turn()
            self._hand.send(held, self.clock())
            if not self._young(held):
                await self._ledger.renew()
            if self._gone.has(held.job.queue) or not self._young(held):  # another replica may have it by now
                self._let_go(held)
            else:
                await self._publish(publisher, held)
                if publisher.is_closed:
                    raise BrokerGone("the channel was closed")
        self._workers -= 1

    def _young(self, held: Held) -> bool:
        return self._ledger.leases.young(held.publication, self.clock())

    async def _publish(self, publisher: Publisher, held: Held) -> None:
        job = held.job
        began = time.perf_counter()
        try:
            await publisher.publish(topology.JOBS, job.queue, wire.to_message(job), LATE_CONFIRM_TIMEOUT)
        except Unroutable:  # the queue that takes what no other one does is deleted faster than it's declared
            self._gone.note(job.queue)
            self._let_go(held)
        except NotConfirmed as problem:
            self._let_go(held)
            log.debug("not confirmed; the job stays in the outbox", job=str(job.id), because=str(problem))
        else:
            self._metrics.confirm_seconds.observe(time.perf_counter() - began)
            self._ledger.confirmed(job, held.publication.returned, held.known)  # it's leased until that is written
            self._hand.land(held)

    def _let_go(self, held: Held) -> None:
        """Give back a job that was on its way, and isn't published."""
        self._hand.land(held)
        self._ledger.released(self._ledger.leases.let_go([held.publication]))

    def _give_back(self, *, on_their_way: bool = False, longest_wait: float = LONGEST_WAIT) -> None:
        """Release what waits, and what is not confirmed, for another replica or for when the broker takes it."""
        left = self._hand.give_up(on_their_way=on_their_way)
        self._ledger.released(self._ledger.leases.let_go(held.publication for held in left), longest_wait)
