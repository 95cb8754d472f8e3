"""The next attempts that the store should publish and can't: their ids belong to other queues' jobs.

A consumer leaves a wait that must not be early, or is above 4,096 s, to the store and acknowledges the job on the word of an
event. If the store has no row for the job, that event is all that is left of it. So the broker has its next attempt wait, in
the level above the wait; from the last one it comes with the time that it is for, and is left to the store again. As
anything that is published before its event is acknowledged, it may come twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from msgspec import structs

from leveret import retry, topology, wire
from leveret.events import NO_RESULT, JobEvent
from leveret.jobs import Envelope, State
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher
from leveret_producer.recorder.chunks import chunks
from leveret_producer.recorder.committing import defect
from leveret_producer.recorder.merge import Report

AT_ONCE = 100
MILLISECOND = timedelta(milliseconds=1)  # which a header cuts
PUBLISHED = "its next attempt was published all the same, and its wait may be longer: at most twice as long, or 1 s"


async def publish(reports: Sequence[Report], publisher: Publisher, now: datetime) -> list[tuple[Report, str]]:
    """Publish the next attempts that are asked for; return each report, as it is to be set aside, and what came of it."""
    done: list[tuple[Report, str]] = []
    for some in chunks(reports, AT_ONCE):
        done += await asyncio.gather(*(_publish(report, publisher, now) for report in some))
    return done


async def _publish(report: Report, publisher: Publisher, now: datetime) -> tuple[Report, str]:
    event = report.event
    if event.state is not State.RETRYING or event.publish_at is None or not bytes(event.payload):
        return report, ""
    wait = max(event.publish_at - now, timedelta(0))
    level = retry.level_above(wait)
    exchange = topology.JOBS if level is None else topology.delay_exchange(level)
    at = {wire.RUN_AT: wire.as_time(event.publish_at + MILLISECOND)} if wait > retry.LONGEST_WAIT else {}
    try:
        await publisher.publish(exchange, report.queue, wire.to_message(_next(report.queue, event), at))
    except NotConfirmed as problem:
        raise BrokerGone(f"a next attempt can't be published: {problem}") from problem
    except Exception as problem:  # noqa: BLE001 - anybody may publish an event, with fields that no message can have
        return report, f"its next attempt can't be published: {defect(problem)}"
    # What is set aside may be put back, and must not be published again then.
    return replace(report, event=structs.replace(event, publish_at=None, payload=NO_RESULT)), PUBLISHED


def _next(queue: str, event: JobEvent) -> Envelope:
    return Envelope(
        event.id,
        queue,
        event.type,
        bytes(event.payload),
        attempt=min(event.attempt + 1, retry.MOST_ATTEMPTS),
        generation=event.generation,
        submitted_at=event.submitted_at,
        priority=event.priority,
        correlation_id=event.correlation_id,
        reply_to=event.reply_to,
        traceparent=event.traceparent,
        deadline=event.deadline,
        headers=wire.stored_headers(event.headers or {}),
    )
