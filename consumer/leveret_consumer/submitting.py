"""Publish the follow-ups of a job that has succeeded, and tell of them, before anything is told of the job itself.

What a consumer that died in between had published is published again, under the same ids. Each follow-up gets there: one whose
time is ahead is left to the store, by the event from which the store publishes a next attempt. So is one that the broker
refuses, because its queue is full, say: that may be the consumer's own queue, which gets no emptier while it waits.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, TypeVar

import aio_pika
import structlog

from leveret import topology, wire
from leveret.ending import end
from leveret.events import JobEvent
from leveret.jobs import Envelope
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, Nacked, Unroutable, until_confirmed
from leveret.sdk.follow_ups import FollowUp
from leveret_consumer import job_events
from leveret_consumer.ends import Deferred, Finished
from leveret_consumer.job_events import log_fields
from leveret_consumer.reports import Reports

log = structlog.get_logger(__name__)
T = TypeVar("T")


class Publish(Protocol):
    async def __call__(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None: ...


class Submitting:
    def __init__(
        self, queue: str, consumer: str, reports: Reports, publish: Publish, now: Callable[[], datetime]
    ) -> None:
        self._queue, self._consumer, self._reports, self._publish, self._now = queue, consumer, reports, publish, now

    async def submit(self, parent: Envelope, follow_ups: Sequence[FollowUp]) -> None:
        """Return once all are confirmed, and what is told of them."""
        told = await _all(self._published_or_left(parent, one) for one in follow_ups)
        queues = [None if one.queue == self._queue else one.queue for one in follow_ups]
        by_queue = sorted(zip(queues, told, strict=True), key=lambda one: one[0] or "")  # each queue's is a batch
        await _all(self._reports.confirmed(event, queue) for queue, event in by_queue)

    async def _published_or_left(self, parent: Envelope, one: FollowUp) -> JobEvent:
        now = self._now()
        job = Envelope(one.id, one.queue, one.type, one.payload, submitted_at=now, traceparent=parent.traceparent)
        if (one.run_at is None or one.run_at <= now) and await self._is_taken(job):
            return job_events.queued(job, self._consumer, now)
        return job_events.finished(job, self._consumer, now, Finished(Deferred(one.run_at or now)))

    async def _is_taken(self, job: Envelope) -> bool:
        taken = False

        async def publish() -> None:
            nonlocal taken
            with suppress(Nacked, Unroutable):
                await self._publish(topology.JOBS, job.queue, wire.to_message(job), LATE_CONFIRM_TIMEOUT)
                taken = True

        await until_confirmed(publish, "a follow-up", job=str(job.id), queue=job.queue)
        if not taken:
            log.warning("the broker does not take a follow-up; it is left to the store", **log_fields(job))
        return taken


async def _all(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what all return; the first that raises ends the others."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await end(tasks)
