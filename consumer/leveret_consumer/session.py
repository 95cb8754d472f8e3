"""What a consumer does with one connection: declare, register, consume, and drain when asked to stop.

A session that loses its connection is over, and the next one starts from nothing; see `runs` for what becomes of the
jobs that were running.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from uuid_utils.compat import uuid7

from leveret import events, topology
from leveret.ending import end
from leveret.events import HandlerInfo, HandlersRegistered, JobEvent
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerErrors
from leveret.rabbitmq.declare import Declared, declare
from leveret.rabbitmq.few_channels import FewChannels
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, Publisher, takes, until_confirmed
from leveret.rabbitmq.replies import Replies
from leveret.rabbitmq.signalling import Signalling
from leveret.sdk.handlers import Handlers
from leveret_consumer.attempts import Attempts
from leveret_consumer.deliveries import Deliveries
from leveret_consumer.demand import Demand
from leveret_consumer.heartbeats import Heartbeats
from leveret_consumer.intake import Intake
from leveret_consumer.jobqueue_inbox import JobQueueInbox
from leveret_consumer.load import Load
from leveret_consumer.reports import Reports
from leveret_consumer.runs import Runs
from leveret_consumer.settings import Settings
from leveret_consumer.settling import Settling
from leveret_consumer.status import OwnQueue, Source, Status
from leveret_consumer.stopping import Stop, drain

log = structlog.get_logger(__name__)

LOOKS_FOR_SOURCE_EVERY = 5.0  # s
CONFIRMS_WITHIN = 3.0  # s for the last events' confirms; with the next within what `runtime` bounds
TOLD_WITHIN = 1.0  # s for a heartbeat to be written


@dataclass(frozen=True, slots=True)
class Process:
    """What outlives a connection."""

    settings: Settings
    handlers: Handlers
    attempts: Attempts
    runs: Runs
    load: Load
    reports: Reports
    heartbeats: Heartbeats
    status: Status
    stop: Stop
    now: Callable[[], datetime]
    jobqueue: JobQueueInbox


class Session:
    """One connection's. `run` is the work of `stay_connected`."""

    def __init__(self, process: Process, connection: AbstractConnection, publisher: Publisher, alarm: Alarm) -> None:
        self._process, self._connection, self._publisher = process, connection, publisher
        settings = process.settings
        self._demand = Demand(settings, process.load)
        self._replies = Replies(
            partial(Publisher.open, connection, alarm=alarm),
            process.load.dropped,
            places=self._demand.most_waiting_replies,
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
            takes=partial(takes, FewChannels(connection)),
            replies=self._replies,
        )
        self._deliveries = Deliveries(
            settings.queue,
            process.handlers,
            process.attempts,
            settling,
            process.runs,
            process.load,
            delivery_limit=settings.delivery_limit,
            judge=process.jobqueue.judge,
        )
        self._intakes = [
            Intake(
                connection,
                settings.queue,
                settings.pod,
                self._deliveries.take,
                OwnQueue(process.status, settings.queue, settings.concurrency),
                wants=self._demand.own_queue,
                shrunk=self._deliveries.give_back_waiting,
            )
        ]
        if settings.source_queue:
            self._intakes.append(
                Intake(
                    connection,
                    settings.source_queue,
                    settings.pod,
                    partial(self._deliveries.take, source=settings.source_queue),
                    Source(settings.source_queue),
                    wants=self._demand.source_queue,
                    single_active=True,
                    looks_for_queue_every=LOOKS_FOR_SOURCE_EVERY,
                )
            )

    @classmethod
    async def run(cls, process: Process, connection: AbstractConnection) -> None:
        """Consume until asked to stop, then drain and return."""
        if process.stop.asked.is_set():
            return
        # Not the job queue: where there is none, nobody wants one. Its dead letters outlive it.
        declared = Declared(connection, topology.shared(), topology.for_dead_letters(process.settings.queue))
        alarm = Alarm()
        publisher = await _unless_asked(process.stop, _set_up(connection, declared, alarm))
        if publisher is None:
            return
        process.jobqueue.connected()
        session = cls(process, connection, publisher, alarm)
        await _first_of(
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
        self._process.runs.connection_lost()
        for intake in self._intakes:
            intake.close()

    async def _consume(self) -> None:
        """Consume until asked to stop."""
        await _all_of(*(intake.run(self._process.stop.asked) for intake in self._intakes))
        await asyncio.Event().wait()  # the session ends when it's drained

    async def _drain_when_asked(self) -> None:
        """Not after `_consume`, which may wait for an answer that the broker, under an alarm, doesn't give."""
        stop, grace = self._process.stop, self._process.settings.grace.total_seconds()
        await stop.asked.wait()
        log.info("draining", because=stop.because, running=self._process.load.busy)
        await drain(self, partial(stop.left, grace))

    async def _register(self) -> None:
        """Tell of the handlers. Beside consuming: under an alarm the confirm may take as long as the alarm."""
        name, message = f"handlers.{self._process.settings.queue}", _registration(self._process)
        publish = partial(self._publisher.publish, topology.EVENTS, name, message, LATE_CONFIRM_TIMEOUT)
        await until_confirmed(publish, "the registration of the handlers")
        await asyncio.Event().wait()  # done, and no reason for the session to end

    async def _publish_events(self, batch: list[JobEvent]) -> None:
        message = _persistent(events.encode(batch))
        name = f"job.{self._process.settings.queue}"
        await self._publisher.publish(topology.EVENTS, name, message, LATE_CONFIRM_TIMEOUT)

    # What `drain` does, in its order.

    async def turn_unready(self) -> None:
        self._process.status.drains(self._process.stop.because)
        await self._tell_that_it_stops()

    def cancel_consumers(self) -> None:
        self._deliveries.close()
        for intake in self._intakes:
            intake.cancel()

    async def give_back_waiting(self) -> int:
        return await self._deliveries.give_back_waiting()

    async def finish_running(self, within: float) -> bool:
        return await self._deliveries.finished(within)

    async def give_back_running(self) -> int:
        return await self._deliveries.give_back_all()

    async def flush_events(self) -> None:
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


def _registration(process: Process) -> aio_pika.Message:
    types = {
        handler.type: HandlerInfo(
            schema=handler.schema(),
            max_attempts=handler.retry.max_attempts if handler.retry else None,
            timeout_seconds=handler.timeout.total_seconds() if handler.timeout else None,
        )
        for handler in process.handlers.values()
    }
    return _persistent(events.encode(HandlersRegistered(process.settings.version, types)))


def _persistent(body: bytes) -> aio_pika.Message:
    return aio_pika.Message(body, content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)


async def _set_up(connection: AbstractConnection, declared: Declared, alarm: Alarm) -> Publisher:
    async with await connection.channel(publisher_confirms=False) as channel:
        await declare(channel, topology.shared())
    return await Publisher.open(connection, alarm=alarm, declared=declared)


async def _unless_asked(stop: Stop, work: Coroutine[None, None, Publisher]) -> Publisher | None:
    """Return what comes of it, None once a stop is asked for: a broker that doesn't answer holds up nobody's end."""
    working, asked = asyncio.create_task(work), asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
        return None if stop.asked.is_set() else working.result()
    finally:
        await end((working, asked))


async def _first_of(*works: Coroutine[None, None, None], before_the_others: Callable[[], None]) -> None:
    """Run all until one returns or raises; then cancel the others, some of whom may wait for the broker once more."""
    await _run(works, asyncio.FIRST_COMPLETED, before_the_others)


async def _all_of(*works: Coroutine[None, None, None]) -> None:
    """Run all until each has returned; once one raises, cancel the others and raise."""
    await _run(works, asyncio.FIRST_EXCEPTION)


async def _run(
    works: Iterable[Coroutine[None, None, None]], until: str, before_the_others: Callable[[], None] = lambda: None
) -> None:
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=until)
        for task in done:
            task.result()
    finally:
        before_the_others()
        await end(tasks)
