"""Keep the store up with the events: batches, each acknowledged after its commit, so that none is lost.

A batch that meets a database that is away is kept and tried again; one that the database refuses for its data is halved
until the bad event stands alone, and that is set aside on `leveret.events.dead` with the reason. So is what can't be
read and what claims a job of another queue. Dead letters come among the events.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

from leveret import topology
from leveret.rabbitmq.publisher import Publisher
from leveret_producer.metrics import Metrics
from leveret_producer.recorder.batch import Batch, read
from leveret_producer.recorder.inbox import Inbox
from leveret_producer.recorder.sessions import until_stopped
from leveret_producer.recorder.writer import Writer

# Messages in memory while the database is slow. Ours of events are of 1 MiB at most, and dead letters are cut to 256 KiB.
PREFETCH = 100


class Recorder:
    def __init__(self, writer: Writer, metrics: Metrics) -> None:
        self._writer = writer
        self._metrics = metrics
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the batch that is being recorded, and no other."""
        self._stopping.set()

    async def session(self, connection: AbstractConnection) -> None:
        """Record what comes over one connection until it ends, or until told to stop."""
        publisher = await Publisher.open(connection)
        inbox = await Inbox.subscribe(connection, topology.EVENTS, PREFETCH)
        try:
            await until_stopped(self._stopping, publisher, self._record_all(inbox, publisher))
        finally:
            self._metrics.recorder_lag.not_known()

    async def _record_all(self, inbox: Inbox, publisher: Publisher) -> None:
        while not self._stopping.is_set():
            messages = await inbox.batch()
            if messages:
                await self._handle(messages, publisher)
                await inbox.acknowledge(messages)
            else:
                self._metrics.recorder_lag.nothing_waits()

    async def _handle(self, messages: Sequence[AbstractIncomingMessage], publisher: Publisher) -> None:
        batch = Batch()
        for message in messages:
            read(message, batch, datetime.now(UTC))
        # A dead letter may have lain in its queue for long: it waits here since it came.
        now = datetime.now(UTC)
        self._metrics.recorder_lag.waits(min((one.event.at for one in batch.reports if not one.letter), default=now))
        await self._writer.record(batch.reports, publisher)
        batch.aside.extend(await self._writer.tell(batch.told))
        for one in batch.aside:
            await self._writer.set_aside(one, publisher)
        self._metrics.recorder_lag.done()
