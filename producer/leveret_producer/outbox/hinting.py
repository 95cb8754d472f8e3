"""Send the hints that are due. They are for now: not persistent, not confirmed, and a lost one is not missed."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from aio_pika.abc import AbstractConnection

from leveret import topology
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.signalling import Signalling
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.hints import HintBook
from leveret_producer.outbox.relay import Relay
from leveret_producer.store.outbox import OutboxRows
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain
from leveret_producer.store.queues import Queues

log = structlog.get_logger(__name__)

TICK = 0.1  # s; a commit wakes the sender before
GATHER = 0.01  # s in which commits are told together
LOOK_EVERY = 5.0  # s between looks into the database
SEND_TIMEOUT = 5.0  # s


class Hinting:
    def __init__(
        self, producer: str, relay: Relay, bound: Bound, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._book = HintBook(producer)
        self._relay = relay
        self._bound = bound
        self._clock = clock
        self._wake = asyncio.Event()

    def committed(self, queue: str, jobs: int) -> None:
        """Tell that jobs were stored."""
        self._book.committed(queue, jobs)
        self._wake.set()

    async def session(self, connection: AbstractConnection) -> None:
        """Send hints over one connection until it ends."""
        signalling = Signalling(Declared(connection, topology.shared()))
        self._book.say_again()
        while True:
            for queue, jobs in self._relay.arrivals().items():
                self._book.committed(queue, jobs)
            self._book.unconfirmed(self._relay.unconfirmed())
            for hint in self._book.due(self._clock()):
                with contextlib.suppress(TimeoutError):  # a broker under an alarm takes nothing; this one is lost
                    await signalling.send(hint, SEND_TIMEOUT)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
                    await asyncio.sleep(GATHER)

    async def look(self, queues: Queues, rows: OutboxRows, metrics: Metrics) -> None:
        """Read every few seconds what only the database knows: what is unpublished, and what waits longest."""
        while True:
            try:
                pending = sum((await rows.pending(self._relay.no_mark())).values())
            except (DatabaseUnavailable, TryAgain) as problem:
                metrics.outbox_pending.value = None
                log.debug("the outbox can't be counted", because=str(problem))
                if self._bound.not_counted():
                    log.warning("the outbox can't be counted; its limit holds for what comes in from now on")
            else:
                self._bound.counted(pending)
                metrics.outbox_pending.value = float(pending)
            try:
                self._book.oldest_waiting(await queues.oldest_waiting())
            except (DatabaseUnavailable, TryAgain) as problem:
                log.debug("what waits longest can't be read", because=str(problem))
            await asyncio.sleep(LOOK_EVERY)
