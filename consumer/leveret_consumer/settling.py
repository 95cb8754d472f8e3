"""Carry out the outcome of a delivery: publish the copy, publish the event, acknowledge.

The order is what makes it at least once. The copy (a dead letter, or the next attempt in its delay level) is confirmed,
then the event is confirmed, then comes the single ack. A crash between two steps repeats an earlier one and loses
nothing. A next attempt that waits in the store has no copy: the event is what the store publishes it from.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

import aio_pika
import structlog
from aio_pika.abc import AbstractIncomingMessage

from leveret import topology, wire
from leveret.events import Error
from leveret.jobs import Envelope
from leveret.rabbitmq.publisher import NotConfirmed
from leveret.wire import Unreadable
from leveret_consumer import job_events
from leveret_consumer.failures import as_header
from leveret_consumer.job_events import Ended
from leveret_consumer.outcomes import DeadLetter, RetryAfter, RetryFromStore, Succeeded
from leveret_consumer.reports import Reports
from leveret_consumer.runs import Run

log = structlog.get_logger(__name__)

PAUSE_AFTER_REFUSAL = 1.0  # s
# A second copy is a second run of the job. While the connection lives a confirm that is late, as under a memory or disk
# alarm, still comes: so wait for it, and publish again only when the broker refused.
COPY_CONFIRM_TIMEOUT = 3600.0  # s

Publish = Callable[[str, str, aio_pika.Message, float], Awaitable[None]]  # exchange, routing key, message, time-out


class Settling:
    def __init__(
        self,
        queue: str,
        consumer: str,
        reports: Reports,
        publish: Publish,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
    ) -> None:
        self._queue, self._consumer, self._reports = queue, consumer, reports
        self._publish, self._now, self._new_id = publish, now, new_id

    async def job(self, message: AbstractIncomingMessage, job: Envelope, ended: Ended, run: Run | None) -> None:
        """Settle a job; what an earlier delivery of the same run has had confirmed is left out."""
        if not (run and run.copied):
            await self._copy(message, job, ended)
            if run:
                run.copied = True
        if not (run and run.reported):
            await self._reports.confirmed(job_events.ended(job, self._consumer, self._now(), ended))
            if run:
                run.reported = True
        await message.ack()
        _note(job, ended)

    async def unreadable(self, message: AbstractIncomingMessage, what: Unreadable, dead: DeadLetter) -> None:
        """Settle a message that can't be run: it's kept as it is among the dead letters.

        One without an id is given one, so that it can be listed, inspected and purged. A crash before the ack brings the
        message back, and then it's there twice, under two ids.
        """
        job_id = what.id or self._new_id()
        await self._until_confirmed(
            topology.DEAD,
            wire.copy_of(message, _why(dead), message_id=None if what.id else str(job_id)),
            str(job_id),
        )
        await self._reports.confirmed(
            job_events.never_read(
                what, job_id, message.type or "", consumer=self._consumer, at=self._now(), error=dead.error
            )
        )
        await message.ack()
        log.warning("a message can't be run", reason=dead.reason, detail=what.detail, job=str(job_id))

    async def _copy(self, message: AbstractIncomingMessage, job: Envelope, ended: Ended) -> None:
        here = {wire.GENERATION: job.generation}
        match ended.outcome:
            case Succeeded() | RetryFromStore():
                pass
            case RetryAfter(level, _):
                exchange = topology.JOBS if level is None else topology.delay_exchange(level)
                copy = wire.copy_of(message, {**here, wire.ATTEMPT: job.attempt + 1})
                await self._until_confirmed(exchange, copy, str(job.id))
            case DeadLetter():
                copy = wire.copy_of(message, {**here, wire.ATTEMPT: job.attempt, **_why(ended.outcome)})
                await self._until_confirmed(topology.DEAD, copy, str(job.id))

    async def _until_confirmed(self, exchange: str, copy: aio_pika.Message, job: str | None) -> None:
        """Publish, and again after a refusal, until confirmed: the delivery stays unacknowledged meanwhile."""
        while True:
            try:
                return await self._publish(exchange, self._queue, copy, COPY_CONFIRM_TIMEOUT)
            except NotConfirmed as problem:
                log.warning("a copy is not confirmed", job=job, exchange=exchange, because=str(problem))
                await asyncio.sleep(PAUSE_AFTER_REFUSAL)


def _why(dead: DeadLetter) -> dict[str, str]:
    return {wire.REASON: dead.reason, wire.ERROR: as_header(dead.error)}


def _note(job: Envelope, ended: Ended) -> None:
    fields = {"job": str(job.id), "queue": job.queue, "type": job.type, "attempt": job.attempt}
    match ended.outcome:
        case Succeeded():
            log.debug("succeeded", **fields, run_seconds=ended.run_seconds)
        case RetryAfter(_, error):
            log.info("failed, runs again", **fields, wait=str(ended.outcome.wait), **_of(error))
        case RetryFromStore(wait, error):
            log.info("failed, runs again from the store", **fields, wait=str(wait), **_of(error))
        case DeadLetter(_, error):
            log.warning("dead", **fields, **_of(error))


def _of(error: Error) -> dict[str, str | None]:
    return {"reason": error.reason, "error": error.type, "detail": error.message}
