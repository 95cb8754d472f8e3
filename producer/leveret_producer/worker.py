"""Work off the operations on many jobs, a chunk at a time; any replica does, and carries on where another one died.

A redrive fills the outbox, so it pauses while that is full: the limit is passed by one chunk at most.
"""

import asyncio
import contextlib

import structlog

from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound, OutboxFull
from leveret_producer.store.operations import CHUNK, Claimed, Operations, Step
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain, nothing_stored
from leveret_producer.views import Operation

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0  # s between looks for what another replica took in, or left behind
FULL_PAUSE = 2.0  # s
AFTER_TROUBLE = 1.0  # s


class Worker:
    def __init__(self, operations: Operations, bound: Bound, metrics: Metrics) -> None:
        self._operations, self._metrics = operations, metrics
        self._bound = bound
        self._something = asyncio.Event()

    def wake(self) -> None:
        """Tell that there is an operation: it needn't wait for the next look."""
        self._something.set()

    async def run(self) -> None:
        """Work for ever."""
        while True:
            self._something.clear()
            try:
                claimed = await self._operations.claim()
                if claimed:
                    await self._carry_on(claimed)
                    continue
            except (DatabaseUnavailable, TryAgain) as problem:
                log.debug("operations wait for the database", because=str(problem))
                await asyncio.sleep(AFTER_TROUBLE)
                continue
            await self._wait()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._something.wait()

    async def _carry_on(self, claimed: Claimed) -> None:
        """Do chunks until none is left, or until the outbox is full."""
        while True:
            try:
                now = await (self._redrive(claimed) if claimed.action == "redrive" else self._operations.step(claimed))
            except OutboxFull as full:
                log.info("a redrive waits for the outbox", operation=str(claimed.id), because=str(full))
                await self._operations.release(claimed, FULL_PAUSE)
                return
            self._metrics.cancelled(now.ended)
            if now.operation.state == "done":
                _tell(now.operation)
                return

    async def _redrive(self, claimed: Claimed) -> Step:
        """Do a chunk; raise OutboxFull if it is."""
        self._bound.admit(CHUNK)
        try:
            now = await self._operations.step(claimed)
        except BaseException as problem:
            (self._bound.not_stored if nothing_stored(problem) else self._bound.stored)(CHUNK)
            raise
        self._bound.stored(now.jobs)
        self._bound.not_stored(CHUNK - now.jobs)
        return now


def _tell(operation: Operation) -> None:
    log.info(
        "an operation is finished",
        operation=str(operation.id),
        queue=operation.queue,
        action=operation.action,
        total=operation.total,
        done=operation.done,
        skipped=operation.skipped,
    )
