"""Keep the store up with the events: batches, each acknowledged after its commit, so that none is lost.

A batch that meets a database that is away is kept and tried again; one that the database refuses for its data is halved
until the bad event stands alone, and that is set aside on `leveret.events.dead` with the reason. So is what can't be
read and what claims a job of another queue.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq import spec

from leveret import topology
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.metrics import Metrics
from leveret_producer.recorder import tally
from leveret_producer.recorder.batch import Batch, SetAside, read, rounds
from leveret_producer.recorder.merge import Report
from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, TryAgain
from leveret_producer.store.recording import Recording, Told

log = structlog.get_logger(__name__)

PREFETCH = 400  # messages, each with many events
GATHER = 0.05  # s from a batch's first message to its end
MOST_EVENTS = 4_000  # a batch
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # s between tries
NO_PAYLOAD = "it asks to publish the job again, and neither it nor the store has the job's payload"
IDLE = 1.0  # s without an event: nothing waits to be recorded

Inbox = asyncio.Queue[AbstractIncomingMessage | None]  # None: the broker ended our subscription


class Recorder:
    def __init__(self, recording: Recording, metrics: Metrics) -> None:
        self._recording = recording
        self._metrics = metrics
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Finish the batch that is being recorded, and no other."""
        self._stopping.set()

    async def session(self, connection: AbstractConnection) -> None:
        """Record what comes over one connection until it ends, or until told to stop."""
        aside = await Publisher.open(connection)
        channel = await connection.channel(publisher_confirms=False)
        inbox = await _subscribe(channel)
        try:
            while not self._stopping.is_set():
                messages = await self._gather(inbox)
                if channel.is_closed:
                    raise BrokerGone("the channel was closed")
                if messages:
                    await self._handle(messages, aside)
                    await messages[-1].ack(multiple=True)
        finally:
            self._metrics.recorder_lag.value = None

    async def _gather(self, inbox: Inbox) -> list[AbstractIncomingMessage]:
        """Return the messages of a batch; none after a second of silence."""
        messages: list[AbstractIncomingMessage] = []
        size, deadline = 0, time.monotonic() + IDLE
        while size < MOST_EVENTS and (left := deadline - time.monotonic()) > 0:
            try:
                message = inbox.get_nowait() if not inbox.empty() else await asyncio.wait_for(inbox.get(), left)
            except TimeoutError:
                break
            if message is None:
                raise BrokerGone("the broker ended the subscription to the events")
            if not messages:
                deadline = time.monotonic() + GATHER
            messages.append(message)
            size += max(1, message.body.count(b'"id"'))
        if not messages:
            self._metrics.recorder_lag.value = 0.0
        return messages

    async def _handle(self, messages: Sequence[AbstractIncomingMessage], aside: Publisher) -> None:
        batch = Batch()
        for message in messages:
            read(message, batch)
        # An id that two queues claim: the claim that came first is recorded before the other is looked at.
        for reports in rounds(batch.reports):
            batch.aside.extend(await self._record(reports, ()))
        batch.aside.extend(await self._record((), batch.told))
        for one in batch.aside:
            await self._set_aside(one, aside)
        if batch.reports:
            oldest = min(report.event.at for report in batch.reports)
            self._metrics.recorder_lag.value = max(0.0, (datetime.now(UTC) - oldest).total_seconds())

    async def _record(self, reports: Sequence[Report], told: Sequence[Told]) -> list[SetAside]:
        """Commit, however long it takes; return what can't be."""
        if not reports and not told:
            return []
        pause = FIRST_PAUSE
        while True:
            try:
                recorded = await self._recording.record(reports, told)
            except (DatabaseUnavailable, TryAgain) as problem:
                log.warning("events wait for the database", because=str(problem), next_try_seconds=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except DataRefused as problem:
                return await self._halve(reports, told, str(problem))
            else:
                tally.count(self._metrics, reports, recorded)
                return [
                    *(SetAside.of_report(one, NO_PAYLOAD) for one in recorded.without_payload),
                    *(
                        SetAside.of_report(one, "the job's id belongs to another queue")
                        for one in reports
                        if one.event.id in recorded.misplaced and one not in recorded.without_payload
                    ),
                ]

    async def _halve(self, reports: Sequence[Report], told: Sequence[Told], because: str) -> list[SetAside]:
        if len(reports) + len(told) == 1:
            return [SetAside.of_report(one, because) for one in reports] + [
                SetAside.of_told(one, because) for one in told
            ]
        half, half_told = len(reports) // 2, len(told) // 2
        first = await self._record(reports[:half], told[:half_told])
        return first + await self._record(reports[half:], told[half_told:])

    async def _set_aside(self, one: SetAside, aside: Publisher) -> None:
        log.warning("an event is set aside", because=one.because, routing_key=one.routing_key)
        try:
            await aside.publish("", topology.EVENTS_DEAD, one.message())
        except NotConfirmed as problem:
            raise BrokerGone(f"an event can't be set aside: {problem}") from problem
        self._metrics.set_aside.inc()


async def _subscribe(channel: AbstractChannel) -> Inbox:
    await channel.set_qos(prefetch_count=PREFETCH)
    inbox: Inbox = asyncio.Queue()
    queue = await channel.get_queue(topology.EVENTS, ensure=False)

    async def ended(_: spec.Basic.Cancel) -> None:
        inbox.put_nowait(None)

    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(ended)
    await queue.consume(inbox.put)
    return inbox
