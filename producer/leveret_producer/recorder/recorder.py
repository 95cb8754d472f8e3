"""Keep the store up with the events: batches, each acknowledged after its commit, so that none is lost.

A batch that meets a database that is away is kept and tried again; one that the database refuses for its data is halved
until the bad event stands alone, and that is set aside on `leveret.events.dead` with the reason. So is what can't be
read, what claims a job of another queue, and what we fail on ourselves. Dead letters come among the events.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

from aio_pika.abc import AbstractConnection

from leveret import topology
from leveret.rabbitmq.publisher import Publisher
from leveret_producer.health import Health
from leveret_producer.metrics import Metrics
from leveret_producer.recorder.answers import Answers
from leveret_producer.recorder.batch import Batch, reading
from leveret_producer.recorder.inbox import Inbox
from leveret_producer.recorder.net import Messages, handle_all
from leveret_producer.recorder.sessions import until_stopped
from leveret_producer.recorder.writer import Writer
from leveret_producer.slices import Slices

# Messages in memory while the database is slow. Ours of events are of 1 MiB at most, and dead letters are cut to 256 KiB.
PREFETCH = 100
BELIEVED_FOR = timedelta(days=366)  # an event that says it's older doesn't say how far we are behind


class Recorder:
    def __init__(self, writer: Writer, metrics: Metrics, health: Health | None = None) -> None:
        self._writer = writer
        self._metrics = metrics
        self._health = health or Health()
        self._stopping = asyncio.Event()
        self._slices = Slices()

    def stop(self) -> None:
        """Finish the batch that is being recorded, and no other."""
        self._stopping.set()

    async def session(self, connection: AbstractConnection) -> None:
        """Record what comes over one connection until it ends, or until told to stop."""
        publisher, answers = await Publisher.open(connection), Answers(connection, self._metrics)
        inbox = await Inbox.subscribe(connection, topology.EVENTS, PREFETCH)
        try:
            await until_stopped(self._stopping, publisher, self._record_all(inbox, publisher, answers), answers)
        finally:
            self._metrics.recorder_lag.not_known()

    async def _record_all(self, inbox: Inbox, publisher: Publisher, answers: Answers) -> None:
        while not self._stopping.is_set():
            messages = await inbox.batch()
            if messages:
                with self._health.events.batch(messages):
                    await self._handle(messages, publisher, answers)
                    await inbox.acknowledge(messages)
            else:
                self._metrics.recorder_lag.nothing_waits()

    async def _handle(self, messages: Messages, publisher: Publisher, answers: Answers) -> None:
        await handle_all(messages, partial(self._record, answers), self._writer, publisher)
        self._metrics.recorder_lag.done()

    async def _record(self, answers: Answers, messages: Messages, publisher: Publisher) -> None:
        batch = Batch()
        for message in messages:
            await self._slices.run(reading(message, batch, datetime.now(UTC)))
            await asyncio.sleep(0)
        # A dead letter may have lain in its queue for long: it waits here since it came.
        now = datetime.now(UTC)
        since = (one.event.at for one in batch.reports if not one.letter and now - one.event.at < BELIEVED_FOR)
        self._metrics.recorder_lag.waits(min(since, default=now))
        aside = [*batch.aside, *await self._writer.record(batch.reports, publisher, answers)]
        aside += await self._writer.tell(batch.told)
        aside += await self._writer.cancel(batch.cancels)
        await self._writer.set_aside(aside, publisher)
