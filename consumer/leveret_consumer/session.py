"""What a consumer does with one connection: declare, register, consume, and drain when asked to stop.

A session that loses its connection is over, and the next one starts from nothing; see `remembered` for what becomes of the
jobs that were running.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

import msgspec
import structlog
from aio_pika.abc import AbstractConnection
from uuid_utils.compat import uuid7

from leveret import events, topology
from leveret.ending import end, together
from leveret.events import JobEvent
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerErrors
from leveret.rabbitmq.declare import Declared, declare_missing
from leveret.rabbitmq.few_channels import FewChannels
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, Publisher, persistent_json, takes, until_confirmed
from leveret.rabbitmq.replies import Replies
from leveret.rabbitmq.signalling import Signalling
from leveret.rabbitmq.unmade import unmade_of
from leveret.sdk.handlers import Handlers
from leveret_consumer import event_batches
from leveret_consumer.acks import Delivered
from leveret_consumer.attempt import Attempts
from leveret_consumer.control_inbox import ControlInbox
from leveret_consumer.deliveries import Deliveries
from leveret_consumer.intake import Intake
from leveret_consumer.jobqueue_inbox import JobQueueInbox
from leveret_consumer.lane import Lane
from leveret_consumer.load import Heartbeats, Load
from leveret_consumer.loading import registration
from leveret_consumer.plain_deliveries import PlainDeliveries
from leveret_consumer.prefetch import Prefetching, Terms
from leveret_consumer.reading import Reading
from leveret_consumer.remembered import Remembered
from leveret_consumer.reports import Reports
from leveret_consumer.settings import Settings
from leveret_consumer.settle import Settling
from leveret_consumer.status import QueueStatus, Status, Stop

log = structlog.get_logger(__name__)

LOOKS_FOR_SOURCE_EVERY = 5.0  # s
CONFIRMS_WITHIN = 3.0  # s for the last events' confirms; with the next within what `consumer` bounds
TOLD_WITHIN = 1.0  # s for a heartbeat to be written


class Process(msgspec.Struct, frozen=True):
    """What outlives a connection."""

    settings: Settings
    handlers: Handlers
    attempts: Attempts
    remembered: Remembered
    load: Load
    reports: Reports
    heartbeats: Heartbeats
    status: Status
    stop: Stop
    now: Callable[[], datetime]
    jobqueue: JobQueueInbox
    control: ControlInbox
    prefetching: Prefetching
    lane: Lane
    registered: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


class Session:
    """One connection's. `run` is the work of `stay_connected`."""

    def __init__(self, process: Process, connection: AbstractConnection, publisher: Publisher, alarm: Alarm) -> None:
        self._process, self._connection, self._publisher = process, connection, publisher
        settings, source = process.settings, process.settings.source_queue
        self._replies = Replies(
            partial(Publisher.open, connection, alarm=alarm),
            process.load.dropped,
            places=process.prefetching.most_waiting_replies,
            others=lambda: publisher.confirmed,
            patience=alarm.patience,
        )
        settling = Settling(
            settings.queue,
            settings.pod,
            process.reports,
            publisher.publish,
            now=process.now,
            new_id=uuid7,
            would_take=partial(takes, FewChannels(connection)),
            replies=self._replies,
        )
        reading = Reading(
            settings.queue,
            process.handlers,
            process.remembered,
            process.now,
            commands=process.control.commands,
            delivery_limit=settings.delivery_limit,
            judge=process.jobqueue.judge,
        )
        parts = (reading, process.attempts, settling, process.remembered, process.load)
        self._deliveries = Deliveries(*parts)
        self._plain = PlainDeliveries(self._deliveries, *parts)
        self._intakes = [self._own_queue(), *([self._source_queue(source)] if source else [])]

    def _own_queue(self) -> Intake:
        settings = self._process.settings
        return Intake(
            self._connection,
            settings.queue,
            settings.pod,
            self._take,
            QueueStatus(settings.queue, settings.concurrency, self._process.status),
            terms=self._terms,
            lane=self._process.lane,
            shrunk=self._deliveries.give_back_waiting,
            channel_closed=self._plain.channel_closed,
        )

    def _source_queue(self, source: str) -> Intake:
        settings = self._process.settings
        return Intake(
            self._connection,
            source,
            settings.pod,
            partial(self._deliveries.take, source=source),
            QueueStatus(source, settings.concurrency, None),
            terms=self._process.prefetching.source_queue,
            lane=self._process.lane,
            single_active=True,
            looks_for_queue_every=LOOKS_FOR_SOURCE_EVERY,
        )

    def _terms(self) -> Terms:
        now, load = asyncio.get_running_loop().time(), self._process.load
        return self._process.prefetching.own_queue(
            now, load.finished.attempts, load.finished.busy_seconds, busy=load.busy
        )

    def _take(self, message: Delivered) -> Awaitable[None] | None:
        self._process.prefetching.came(len(message.body))
        return self._plain.take(message)

    @classmethod
    async def run(cls, process: Process, connection: AbstractConnection) -> None:
        """Consume until asked to stop, then drain and return."""
        if process.stop.asked.is_set():
            return
        # Not the job queue: where there is none, nobody wants one. Its dead letters outlive it.
        declared = Declared(connection, topology.shared(), topology.for_dead_letters(process.settings.queue))
        alarm = Alarm()
        publisher = await process.stop.unless_asked(_set_up(connection, declared, alarm))
        if publisher is None:
            return
        process.jobqueue.connected()
        session = cls(process, connection, publisher, alarm)
        await together(
            session._drain_when_asked(),
            session._consume(),
            publisher.closed(),
            alarm.watch(connection),
            session._register(),
            process.reports.run(session._publish_events),
            process.heartbeats.run(Signalling(declared).send),
            process.jobqueue.listen(connection),
            before_the_others=session._let_go,
        )

    def _let_go(self) -> None:
        """Stop what runs, now: the broker has it again, or will have soon, and gives it to others."""
        # First: it may be a channel that was lost and not the connection, and then each run that is stopped would free
        # its slot for one that waits here, which nobody would stop.
        self._deliveries.abandon()
        self._process.remembered.connection_lost()
        for intake in self._intakes:
            intake.close()

    async def _consume(self) -> None:
        """Consume until asked to stop, from when it's known what is cancelled."""
        if not self._process.control.up_to_date.is_set():
            self._process.status.waits("it reads what is cancelled first")
            await self._process.control.up_to_date.wait()
        await together(*(one.run(self._process.stop.asked) for one in self._intakes), until=asyncio.FIRST_EXCEPTION)
        await asyncio.Event().wait()  # the session ends when it's drained

    async def _drain_when_asked(self) -> None:
        """Not after `_consume`, which may wait for an answer that the broker, under an alarm, doesn't give."""
        stop = self._process.stop
        await stop.asked.wait()
        log.info("draining", because=stop.because, running=self._process.load.busy)
        await self._drain(stop, self._process.settings.grace.total_seconds())

    async def _register(self) -> None:
        """Tell of the handlers. Beside consuming: under an alarm the confirm may take as long as the alarm."""
        settings, registered = self._process.settings, self._process.registered
        told = registration(self._process.handlers, settings.version, again=registered.is_set())
        message = persistent_json(events.encode(told))
        name = f"handlers.{settings.queue}"
        publish = partial(self._publisher.publish, topology.EVENTS, name, message, LATE_CONFIRM_TIMEOUT)
        await until_confirmed(publish, "the registration of the handlers")
        registered.set()
        await asyncio.Event().wait()  # done, and no reason for the session to end

    async def _publish_events(self, batch: list[JobEvent], queue: str | None) -> None:
        name, unmade = queue or self._process.settings.queue, unmade_of(self._connection)
        await event_batches.publish(self._publisher, batch, name, unmade.said, self._process.now())

    async def _drain(self, stop: Stop, grace: float) -> None:
        """Stop, losing nothing. The broker's heartbeats go on all along."""
        # First, because whoever asks from now on, the operator too, must not count on this consumer.
        self._process.status.drains(stop.because)
        await self._tell_that_it_stops()
        # Before anything goes back, because the broker would send it straight here again. Its answer is not waited for: under
        # an alarm that comes when the alarm is over, and what waits here would take the slots that get free until then.
        self._deliveries.close()
        for intake in self._intakes:
            intake.cancel()
        # Next, because others can start these at once; their wait should not be ours.
        given_back = await self._deliveries.give_back_waiting()
        # Most of the time is for this: a job that ends here is a job that nobody runs twice.
        if not await self._deliveries.finished(stop.left(grace)):
            # nack, because a reject would count as a failure of the job. Now, because SIGKILL comes next.
            given_back += await self._deliveries.give_back_all()
        # Last, because the jobs' ends are in them; the connection closes only after their confirms.
        await self._flush_events()
        log.info("drained", given_back=given_back)

    async def _flush_events(self) -> None:
        """And the replies that were left to arrive, in the same time."""
        finishing = asyncio.create_task(self._replies.finish(CONFIRMS_WITHIN))
        try:
            async with asyncio.timeout(CONFIRMS_WITHIN):
                await self._process.reports.flush()
        except TimeoutError:
            log.warning("the last events are not confirmed; their jobs run again")
        finally:
            await asyncio.wait({finishing})
        await self._tell_that_it_stops()

    async def _tell_that_it_stops(self) -> None:
        """The operator, which counts on it less soon; not at the cost of the drain."""
        try:
            async with asyncio.timeout(TOLD_WITHIN):
                await self._process.heartbeats.stopping()
        except BrokerErrors as problem:
            log.debug("the operator is not told of the stop", because=str(problem))


async def _set_up(connection: AbstractConnection, declared: Declared, alarm: Alarm) -> Publisher:
    """In four round trips: the publisher's channels are opened meanwhile."""
    publisher = asyncio.create_task(Publisher.open(connection, alarm=alarm, declared=declared))
    try:
        await declare_missing(connection, topology.shared())
        return await publisher
    finally:
        await end((publisher,))
