"""What a consumer does with one connection: declare, register, consume, and drain when asked to stop.

A session that loses its connection is over, and the next one starts from nothing; see `runs` for what becomes of the
jobs that were running.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime

import aio_pika
import structlog
from aio_pika.abc import AbstractConnection
from uuid_utils.compat import uuid7

from leveret import events, signals, topology
from leveret.events import HandlerInfo, HandlersRegistered, JobEvent
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret.sdk.handlers import Handlers
from leveret_consumer.attempts import Attempts
from leveret_consumer.deliveries import Deliveries
from leveret_consumer.heartbeats import Heartbeats
from leveret_consumer.load import Load
from leveret_consumer.reports import Reports
from leveret_consumer.runs import Runs
from leveret_consumer.settings import Settings
from leveret_consumer.settling import Settling
from leveret_consumer.status import Status
from leveret_consumer.stopping import Stop, drain
from leveret_consumer.subscription import QueueMissing, Subscription

log = structlog.get_logger(__name__)

LOOKS_FOR_QUEUE_EVERY = 1.0  # s
# Subscribing to a quorum queue in the milliseconds of its deletion is an internal error (541) to the broker: it closes the
# connection, and with it goes what still runs on the old channel.
SUBSCRIBES_AGAIN_AFTER = 1.0  # s
CONFIRMS_WITHIN = 5.0  # s for the last events' confirms


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


class Session:
    """One connection's. `run` is the work of `stay_connected`."""

    def __init__(self, process: Process, connection: AbstractConnection, publisher: Publisher) -> None:
        self._process, self._connection, self._publisher = process, connection, publisher
        settings = process.settings
        settling = Settling(
            settings.queue, settings.pod, process.reports, publisher.publish, now=process.now, new_id=uuid7
        )
        self._deliveries = Deliveries(
            settings.queue, process.handlers, process.attempts, settling, process.runs, process.load
        )
        self._subscriptions: list[Subscription] = []
        self._retiring: set[asyncio.Task[None]] = set()

    @classmethod
    async def run(cls, process: Process, connection: AbstractConnection) -> None:
        """Consume until asked to stop, then drain and return."""
        if process.stop.asked.is_set():
            return
        channel = await connection.channel(publisher_confirms=False)
        await declare(channel, topology.shared())
        publisher = await Publisher.open(connection)
        await publisher.publish(topology.EVENTS, f"handlers.{process.settings.queue}", _registration(process))
        session = cls(process, connection, publisher)
        signalling = await channel.get_exchange(topology.SIGNALS, ensure=False)

        async def send(beat: signals.Heartbeat) -> None:
            await signalling.publish(aio_pika.Message(signals.encode(beat)), signals.routing_key(beat), mandatory=False)

        try:
            await _first_of(
                session._consume(),
                process.reports.run(session._publish_events),
                process.heartbeats.run(send),
            )
        finally:
            process.runs.connection_lost()
            for task in session._retiring:
                task.cancel()

    async def _consume(self) -> None:
        """Subscribe, and again whenever the broker ends it, until asked to stop."""
        process = self._process
        stop = asyncio.create_task(process.stop.asked.wait())
        try:
            while not stop.done():
                subscription = await self._subscribe(stop)
                if subscription is None:
                    break
                process.status.consumes(process.load.slots)
                ended = asyncio.create_task(subscription.ended.wait())
                await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
                ended.cancel()
                if subscription.channel_closed:
                    raise BrokerGone("the broker closed the channel that jobs were delivered on")
                if not stop.done():
                    process.status.waits("the broker ended the consumer; subscribing again")
                    self._retire(subscription)
                    await asyncio.wait({stop}, timeout=SUBSCRIBES_AGAIN_AFTER)
        finally:
            stop.cancel()
        log.info("draining", because=process.stop.because, running=process.load.busy)
        await drain(self, process.settings.grace.total_seconds())

    async def _subscribe(self, stop: "asyncio.Task[bool]") -> Subscription | None:
        """Wait until there is a queue to consume; None if asked to stop before."""
        process, settings = self._process, self._process.settings
        while not stop.done():
            try:
                subscription = await Subscription.open(
                    self._connection, settings.queue, settings.pod, settings.concurrency, self._deliveries.take
                )
            except QueueMissing as missing:
                process.status.waits(f"{missing} yet: the operator makes it for its JobQueue")
                log.warning("waits for the queue", queue=settings.queue)
                await asyncio.wait({stop}, timeout=LOOKS_FOR_QUEUE_EVERY)
            else:
                self._subscriptions.append(subscription)
                return subscription
        return None

    def _retire(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        task = asyncio.create_task(subscription.retire())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _publish_events(self, batch: list[JobEvent]) -> None:
        message = _persistent(events.encode(batch))
        await self._publisher.publish(topology.EVENTS, f"job.{self._process.settings.queue}", message)

    # What `drain` does, in its order.

    async def turn_unready(self) -> None:
        self._process.status.drains(self._process.stop.because)
        await self._process.heartbeats.stopping()

    async def cancel_consumers(self) -> None:
        self._deliveries.close()
        for subscription in self._subscriptions:
            await subscription.cancel()

    async def give_back_waiting(self) -> int:
        return await self._deliveries.give_back_waiting()

    async def finish_running(self, within: float) -> bool:
        return await self._deliveries.finished(within)

    async def give_back_running(self) -> int:
        return await self._deliveries.give_back_all()

    async def flush_events(self) -> None:
        try:
            async with asyncio.timeout(CONFIRMS_WITHIN):
                await self._process.reports.flush()
        except TimeoutError:
            log.warning("the last events are not confirmed; their jobs run again")
        await self._process.heartbeats.stopping()


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


async def _first_of(*works: Coroutine[None, None, None]) -> None:
    """Run all until one returns or raises; then cancel the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
