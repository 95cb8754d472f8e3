"""The order in which a producer's parts start and stop, with the reasons.

Start: requests are answered at once, if only with 503; the tables come first, and everything else may come in any order
and again. Stop: the relay publishes what was accepted; the recorder commits and acknowledges the batch it has, and
what it hasn't goes back to the broker.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import structlog
from aio_pika.abc import AbstractConnection

from leveret import ending, topology
from leveret.rabbitmq.claim import BrokerShared
from leveret.rabbitmq.connection import BrokerErrors, open_connection, stay_connected
from leveret.rabbitmq.declare import declare
from leveret.settings import Broker, MissingSetting
from leveret_producer.health import RELAY, BrokerListener
from leveret_producer.outbox.together import together
from leveret_producer.parts import Parts
from leveret_producer.recorder.stand_in import StandIn
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain
from leveret_producer.store.rights import RightMissing

log = structlog.get_logger(__name__)

MIGRATE_AGAIN = 1.0  # s
RIGHT_AGAIN = 3.0  # s
AFTER_DEFECT = 1.0  # s until a task that failed is started again
FLUSH = 5.0  # s for what was accepted to be published at a stop
LAST_BATCH = 10.0  # s for the recorders'


@contextlib.asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Run the background tasks for as long as the context lasts."""
    relay_listener = BrokerListener(parts.health, RELAY)
    recorder_listener = BrokerListener(parts.health, "recorder")
    returned_listener = BrokerListener(parts.health, "returned messages")
    name, stand_in = parts.settings.name, StandIn()

    def read() -> Broker:
        try:
            return parts.settings.places.broker()
        except MissingSetting as problem:
            raise OSError(str(problem)) from problem  # the Secret may come yet, as the broker may

    async def opens(broker: Broker, connection_name: str) -> AbstractConnection:
        try:
            connection = await open_connection(broker, connection_name)
        except BrokerErrors as problem:  # one that is away is no longer known to be another's
            parts.health.broker_shared = str(problem) if isinstance(problem, BrokerShared) else None
            raise
        parts.health.broker_shared = None
        return connection

    async def publish(connection: AbstractConnection) -> None:
        await _declare(connection)
        await together(
            parts.relay.session(connection),
            parts.hinting.session(connection),
            parts.sender.session(connection),
            parts.snapshots.session(connection),
        )

    async def record(connection: AbstractConnection) -> None:
        await _declare(connection)
        await ending.together(parts.recorder.session(connection), stand_in.session(connection))

    async def put_back(connection: AbstractConnection) -> None:
        await _declare(connection)
        await parts.returned.session(connection)

    async def stay(label: str, work: Callable[[AbstractConnection], Awaitable[None]], listener: BrokerListener) -> None:
        def lacks(unmade: Mapping[str, str]) -> None:
            listener.lacks(unmade)
            stand_in.lacks(unmade)

        await stay_connected(read, f"{name} {label}", work, listener, opens=opens, lacks=lacks)

    async def keep(label: str, part: Callable[[], Awaitable[None]]) -> None:
        await migrated.wait()
        await _again(parts, label, part)

    migrated = asyncio.Event()
    recorders = [
        asyncio.create_task(keep("recorder", lambda: stay("recorder", record, recorder_listener))),
        asyncio.create_task(keep("returned", lambda: stay("returned", put_back, returned_listener))),
    ]
    others = [
        asyncio.create_task(_again(parts, "migration", lambda: _migrate(parts, migrated))),
        asyncio.create_task(keep("relay", lambda: stay("relay", publish, relay_listener))),
        asyncio.create_task(keep("ledger", parts.relay.run_ledger)),
        asyncio.create_task(keep("retention", parts.keeper.run)),
        asyncio.create_task(keep("operations", parts.worker.run)),
        asyncio.create_task(keep("sweep", lambda: parts.sweeper.run(read, f"{name} sweep"))),
        asyncio.create_task(keep("cancels", parts.snapshots.count)),
        asyncio.create_task(keep("look", lambda: parts.hinting.look(parts.work_queues, parts.rows, parts.metrics))),
    ]
    try:
        yield
    finally:
        parts.health.stopping = True
        parts.recorder.stop()
        parts.returned.stop()
        await parts.relay.flush(FLUSH)
        if migrated.is_set():
            await asyncio.wait(recorders, timeout=LAST_BATCH)
        for task in (*recorders, *others):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _declare(connection: AbstractConnection) -> None:
    async with connection.channel() as channel:
        await declare(channel, topology.shared())


async def _migrate(parts: Parts, migrated: asyncio.Event) -> None:
    health, give_up_at = parts.health, float("inf")
    while True:
        try:
            health.warnings = await migrate(parts.work_database)
        except RightMissing as problem:
            if str(problem) != health.right_missing:
                log.error("the database can't be used as it is", because=str(problem), next_try_seconds=RIGHT_AGAIN)
            if health.right_missing is None:
                give_up_at = time.monotonic() + parts.settings.without_rights_seconds
            health.right_missing = str(problem)
            health.gave_up = time.monotonic() >= give_up_at
            await asyncio.sleep(RIGHT_AGAIN)
        except (DatabaseUnavailable, TryAgain) as problem:
            log.warning("the database is not there yet", because=str(problem), next_try_seconds=MIGRATE_AGAIN)
            await asyncio.sleep(MIGRATE_AGAIN)
        else:
            health.migrated, health.right_missing = True, None
            migrated.set()
            log.info("the tables are there")
            for warning in health.warnings:
                log.warning("the database is not as it should be", because=warning)
            return


async def _again(parts: Parts, label: str, part: Callable[[], Awaitable[None]]) -> None:
    """Run a part until it ends by itself; a defect is logged, counted, and costs a second."""
    while True:
        try:
            return await part()
        except Exception:
            log.exception("a background task failed and is started again", task=label)
            parts.metrics.failures.labels(label).inc()
            await asyncio.sleep(AFTER_DEFECT)
