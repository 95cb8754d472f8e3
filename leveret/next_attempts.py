"""The next attempt that an event asks the store to publish, where the broker has it wait instead.

In the level above the wait; from the last one it comes with the time that it is for, and is left to the store again.
"""

from datetime import datetime, timedelta

import aio_pika
from msgspec import structs

from leveret import retry, topology, wire
from leveret.events import NO_RESULT, JobEvent
from leveret.jobs import Envelope, State

MILLISECOND = timedelta(milliseconds=1)  # which a header cuts


def message(queue: str, event: JobEvent, now: datetime) -> tuple[str, aio_pika.Message] | None:
    """Return to which exchange it goes, under the queue's name, and the message; None where the event asks for none.

    Raises whatever making a message of such fields does.
    """
    if event.state is not State.RETRYING or event.publish_at is None or not bytes(event.payload):
        return None
    wait = max(event.publish_at - now, timedelta(0))
    level = retry.level_above(wait)
    exchange = topology.JOBS if level is None else topology.delay_exchange(level)
    at = {wire.RUN_AT: wire.as_time(event.publish_at + MILLISECOND)} if wait > retry.LONGEST_WAIT else {}
    return exchange, wire.to_message(_next(queue, event), at)


def told(event: JobEvent) -> JobEvent:
    """Return what is told where the broker has it: the store must not publish it again."""
    return structs.replace(event, publish_at=None, payload=NO_RESULT)


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
