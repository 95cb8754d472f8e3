"""Write every five minutes all cancels that are wanted still, and clear away the others: one replica at a time.

A snapshot begins with an empty message; once that is confirmed the database is read, so a command that came before it was
committed before the read. The last message tells how many there are: with it a reader has all, also where nothing is wanted.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import structlog
from aio_pika.abc import AbstractConnection

from leveret import topology
from leveret.control import MOST_JOBS
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.cancels.messages import SnapshotParts, cancels_of, chunked, rules_of, sorted_out
from leveret_producer.cancels.sender import EVERY, publish
from leveret_producer.metrics import Metrics
from leveret_producer.outbox.together import together
from leveret_producer.store.cancels import PAGE, Cancels, Wanted
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain
from leveret_producer.store.turns import Turns

log = structlog.get_logger(__name__)

TURN = "control"
WRITE_EVERY = 300.0  # s
LOOK_EVERY = 10.0  # s, and between counts


class Snapshots:
    def __init__(
        self,
        cancels: Cancels,
        turns: Turns,
        metrics: Metrics,
        clock: Callable[[], datetime],
        alarm: Alarm,
        every: float = WRITE_EVERY,
    ) -> None:
        """`every` in seconds; `alarm` is watched by whoever else publishes over the connection."""
        self._cancels, self._turns, self._metrics = cancels, turns, metrics
        self._clock, self._alarm, self._every = clock, alarm, every

    async def session(self, connection: AbstractConnection) -> None:
        """Take turns over one connection until it ends."""
        declared = Declared(connection, topology.shared())
        publisher = await Publisher.open(connection, alarm=self._alarm, declared=declared)
        await together(publisher.closed(), self._take_turns(publisher))

    async def count(self) -> None:
        """Show for ever how many cancels stand, and how old the newest whole snapshot is."""
        while True:
            try:
                self._metrics.cancels_live.values = await self._cancels.live()
                if (age := await self._turns.age(TURN)) is not None:
                    self._metrics.control_complete_age.waits(self._clock() - timedelta(seconds=age))
            except (DatabaseUnavailable, TryAgain) as problem:
                self._metrics.cancels_live.values = None
                log.debug("cancels can't be counted", because=str(problem))
            await asyncio.sleep(LOOK_EVERY)

    async def _take_turns(self, publisher: Publisher) -> None:
        while True:
            try:
                async with self._turns.take(TURN, pause=self._every) as turn:
                    if turn:
                        await self._write(publisher)
            except (DatabaseUnavailable, TryAgain, NotConfirmed) as problem:
                log.warning("a snapshot of the cancels was not written whole", because=str(problem))
            await asyncio.sleep(min(LOOK_EVERY, self._every))

    async def _write(self, publisher: Publisher) -> None:
        parts, send = SnapshotParts(uuid4()), partial(publish, publisher)
        await send(parts.part([], self._clock()))
        behind: Wanted | None = None
        over = jobs = 0
        while True:
            page = await self._cancels.page(behind)
            now = self._clock()
            found = sorted_out(page, now)
            if found.over or found.again:
                noted = await self._cancels.settle(found.over, found.again)
                self._metrics.cancelled(noted.ended)
                over += len(found.over) + noted.ended.total()
            if found.named:
                await send(parts.part(cancels_of(found.named, now), now))
                jobs += len(found.named)
                await asyncio.sleep(EVERY)
            if len(page) < PAGE:
                break
            behind = page[-1].wanted
        *rules, last = chunked(rules_of(await self._cancels.rules(), self._clock()), MOST_JOBS)
        for some in rules:
            await send(parts.part(some, self._clock()))
        await send(parts.last(last, self._clock()))
        if jobs or over:
            log.info("a snapshot of the cancels was written", named=jobs, over=over)
