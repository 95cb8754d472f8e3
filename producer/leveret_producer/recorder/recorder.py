"""Keep the store up with the events: batches, each acknowledged after its commit, so that none is lost.

A batch that meets a database that is away is kept and tried again; one that the database refuses for its data is halved
until the bad event stands alone, and that is set aside on `leveret.events.dead` with the reason. So is what can't be
read and what claims a job of another queue. Dead letters come among the events. What the broker had no queue for comes
from a queue of its own, and is put back into the outbox or is a dead letter, too.
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

import structlog
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from leveret import topology
from leveret.ending import end
from leveret.jobs import Envelope
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.together import together
from leveret_producer.recorder import letters, tally
from leveret_producer.recorder.answers import answer
from leveret_producer.recorder.batch import Batch, SetAside, read, rounds
from leveret_producer.recorder.committing import Refused, commit
from leveret_producer.recorder.inbox import Inbox
from leveret_producer.recorder.merge import Report
from leveret_producer.store.recording import Recording, Told
from leveret_producer.store.returning import Returning

log = structlog.get_logger(__name__)

_Returned = tuple[Envelope, AbstractIncomingMessage]

# Messages in memory while the database is slow. Ours of events are of 1 MiB at most, and dead letters are cut to 256 KiB;
# what was returned is kept whole, as large as the broker takes messages.
PREFETCH = 100
PREFETCH_RETURNED = 10
NO_PAYLOAD = "it asks to publish the job again, and neither it nor the store has the job's payload"
NOT_ITS_QUEUE = "the job's id belongs to another queue"
TOO_LARGE = "it is a dead letter, and its body is too large for the store"


class Recorder:
    def __init__(self, recording: Recording, returning: Returning, metrics: Metrics) -> None:
        self._recording = recording
        self._returning = returning
        self._metrics = metrics
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the batches that are being recorded, and no other."""
        self._stopping.set()

    async def session(self, connection: AbstractConnection) -> None:
        """Record what comes over one connection until it ends, or until told to stop."""
        aside = await Publisher.open(connection)
        told = await Inbox.subscribe(connection, topology.EVENTS, PREFETCH)
        returned = await Inbox.subscribe(connection, topology.UNROUTABLE, PREFETCH_RETURNED)
        try:
            await together(self._record_all(told, aside), self._return_all(returned, aside), self._watch(aside))
        finally:
            self._metrics.recorder_lag.not_known()

    async def _record_all(self, inbox: Inbox, aside: Publisher) -> None:
        while not self._stopping.is_set():
            messages = await inbox.batch()
            if messages:
                await self._handle(messages, aside)
                await inbox.acknowledge(messages)
            else:
                self._metrics.recorder_lag.nothing_waits()

    async def _watch(self, aside: Publisher) -> None:
        """Raise BrokerGone if nothing can be set aside or answered any more."""
        stopping, closed = asyncio.create_task(self._stopping.wait()), asyncio.create_task(aside.closed())
        try:
            await asyncio.wait({stopping, closed}, return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                await closed
        finally:
            await end((stopping, closed))

    async def _return_all(self, inbox: Inbox, aside: Publisher) -> None:
        while not self._stopping.is_set():
            if messages := await inbox.batch():
                await self._put_back(messages, aside)
                await inbox.acknowledge(messages)

    async def _handle(self, messages: Sequence[AbstractIncomingMessage], aside: Publisher) -> None:
        batch = Batch()
        for message in messages:
            read(message, batch, datetime.now(UTC))
        # A dead letter may have lain in its queue for long: it waits here since it came.
        now = datetime.now(UTC)
        self._metrics.recorder_lag.waits(min((one.event.at for one in batch.reports if not one.letter), default=now))
        await self._record(batch.reports, aside)

        async def write(told: Sequence[Told]) -> Refused[Told]:
            await self._recording.record((), told)
            return []

        for told, because in await commit(batch.told, write):
            batch.aside.append(SetAside.of_told(told, because))
        for one in batch.aside:
            await self._set_aside(one, aside)
        self._metrics.recorder_lag.done()

    async def _record(self, reports: Sequence[Report], publisher: Publisher) -> None:
        dead: list[Report] = []

        async def write(some: Sequence[Report]) -> Refused[Report]:
            recorded = await self._recording.record(some)
            tally.count(self._metrics, some, recorded)
            dead.extend(one for one in some if (one.event.id, one.event.generation) in recorded.dead)
            lost = [one for one in some if one.event.id in recorded.misplaced and one not in recorded.without_payload]
            return [(one, NO_PAYLOAD) for one in recorded.without_payload] + [(one, NOT_ITS_QUEUE) for one in lost]

        # An id that two queues claim: the claim that came first is recorded before the other is looked at.
        refused = [one for part in rounds(reports) for one in await commit(part, write)]
        for report, because in refused:
            await self._set_aside(SetAside.of_report(report, because), publisher)
        await answer(dead, publisher)

    async def _put_back(self, messages: Sequence[AbstractIncomingMessage], aside: Publisher) -> None:
        """Put what the broker had no queue for back into the outbox, or bury it."""
        live = await self._live({message.routing_key or "" for message in messages})
        now = datetime.now(UTC)
        found = [(letters.without_queue(one, now, live=one.routing_key in live), one) for one in messages]
        jobs = [(job, message) for job, message in found if isinstance(job, Envelope)]
        for (_, message), because in await commit(jobs, self._return):
            await self._set_aside(SetAside.of_letter(message, because), aside)
        await self._bury([report for report, _ in found if isinstance(report, Report)], aside)

    async def _live(self, queues: Collection[str]) -> set[str]:
        """Return which of these queues a JobQueue has; one that the database refuses to look for is none."""
        live: set[str] = set()

        async def look(names: Sequence[str]) -> Refused[str]:
            live.update(await self._returning.live(names))
            return []

        await commit(sorted(queues), look)
        return live

    async def _return(self, jobs: Sequence[_Returned]) -> Refused[_Returned]:
        misplaced = await self._returning.put_back([job for job, _ in jobs])
        return [(one, NOT_ITS_QUEUE) for one in jobs if one[0] in misplaced]

    async def _bury(self, dead: Sequence[Report], aside: Publisher) -> None:
        """Record dead letters that are in no queue of dead letters; one too large for the store would be gone, else."""
        for report in dead:
            if report.letter and not report.letter.keeps_body:
                await self._set_aside(SetAside.of_report(report, TOO_LARGE), aside)
        await self._record(dead, aside)

    async def _set_aside(self, one: SetAside, aside: Publisher) -> None:
        log.warning("an event is set aside", because=one.because, routing_key=one.routing_key)
        try:
            await aside.publish("", topology.EVENTS_DEAD, one.message())
        except NotConfirmed as problem:
            raise BrokerGone(f"an event can't be set aside: {problem}") from problem
        self._metrics.set_aside.inc()
