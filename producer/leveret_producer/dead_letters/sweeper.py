"""Sweep after operations on dead letters: one replica at a time for each queue, at most once a minute."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from aio_pika.abc import AbstractConnection

from leveret.rabbitmq.connection import stay_connected
from leveret.settings import Broker
from leveret_producer.dead_letters.sweep import Sweep, Swept
from leveret_producer.metrics import Metrics
from leveret_producer.recorder import tally
from leveret_producer.recorder.committing import Refused, commit
from leveret_producer.recorder.merge import Report
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain
from leveret_producer.store.recording import Recording
from leveret_producer.store.sweeping import EVERY, Due, Sweeping
from leveret_producer.store.turns import Turns

log = structlog.get_logger(__name__)

LOOK_EVERY = 2.0  # s
AFTER_TROUBLE = 5.0  # s


class Sweeper:
    def __init__(
        self,
        sweeping: Sweeping,
        turns: Turns,
        recording: Recording,
        metrics: Metrics,
        clock: Callable[[], datetime],
        retention: timedelta,
    ) -> None:
        self._sweeping, self._turns = sweeping, turns
        self._recording = recording
        self._metrics = metrics
        self._sweep = Sweep(sweeping.known, self._tell, clock, retention)

    async def run(self, read: Callable[[], Broker], name: str) -> None:
        """Sweep for ever. There is a connection to the broker for as long as a sweep takes."""
        while True:
            try:
                for due in await self._sweeping.due():
                    async with self._turns.take(f"sweep {due.queue}", pause=EVERY) as turn:
                        if turn:
                            await self._one(due, read, name)
            except (DatabaseUnavailable, TryAgain) as problem:
                log.debug("a sweep of dead letters waits for the database", because=str(problem))
                await asyncio.sleep(AFTER_TROUBLE)
            await asyncio.sleep(LOOK_EVERY)

    async def _one(self, due: Due, read: Callable[[], Broker], name: str) -> None:
        swept = Swept(0)

        async def go(connection: AbstractConnection) -> None:
            nonlocal swept
            swept = await self._sweep.run(connection, due.queue)

        await stay_connected(read, name, go)
        await self._sweeping.swept(due, complete=swept.complete)
        if swept.gone or swept.told:
            log.info(
                "a queue of dead letters was swept",
                queue=due.queue, there=swept.there, seen=swept.seen, gone=swept.gone, told=swept.told,
            )  # fmt: skip

    async def _tell(self, reports: Sequence[Report]) -> None:
        """Have the store know of dead letters that it does not, or whose payload it lacks."""

        async def write(some: Sequence[Report]) -> Refused[Report]:
            tally.count(self._metrics, some, await self._recording.record(some))
            return []

        for report, because in await commit(reports, write):
            log.warning("a dead letter can't be recorded; it stays", job=str(report.event.id), because=because)
