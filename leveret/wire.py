"""A job as an AMQP message: which property and header carries what.

Any client can write such a message, so reading one returns either an envelope or the reason why it can't be run; it
never raises. The body is the payload itself and is not looked into here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import aio_pika
from aio_pika.abc import AbstractIncomingMessage, FieldValue

from leveret.jobs import DeadReason, Envelope

ATTEMPT = "leveret-attempt"
GENERATION = "leveret-generation"
REASON = "leveret-reason"
ERROR = "leveret-error"
TRACEPARENT = "traceparent"
_BROKER_COUNT = "x-delivery-count"
_SAME_SECOND = 2.0  # s; an AMQP timestamp is cut to the second, and two readings of a clock differ a bit
LARGEST_BODY = 256 * 1024  # bytes; the front door takes no larger payload, and a foreign client may send one
_LARGEST_HEADER = 32 * 1024  # characters; all headers of a message must fit into one frame of 128 KiB


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that can't be run; `id` is there if at least that could be read."""

    reason: DeadReason
    detail: str
    id: UUID | None = None
    attempt: int = 1
    generation: int = 1


def to_message(job: Envelope, extra: Mapping[str, str | int] | None = None) -> aio_pika.Message:
    """Return the message that carries a job, persistent, with `extra` headers."""
    headers: dict[str, FieldValue] = {ATTEMPT: job.attempt, GENERATION: job.generation}
    if job.traceparent:
        headers[TRACEPARENT] = job.traceparent
    return aio_pika.Message(
        job.body,
        headers=headers | dict(extra or {}),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=str(job.id),
        type=job.type,
        timestamp=job.submitted_at,
        priority=job.priority,
        correlation_id=job.correlation_id,
        reply_to=job.reply_to,
    )


def copy_of(
    message: AbstractIncomingMessage, headers: Mapping[str, str | int], *, message_id: str | None = None
) -> aio_pika.Message:
    """Return a persistent copy of what was delivered, with some headers set anew, to be published elsewhere.

    `message_id` is for a message that came without one that can be used.

    What the sender wrote travels along, simple headers included. Left out is what would make the copy behave: an
    expiration (it would vanish from the queue that it waits in), a user id (the broker refuses one that is not the
    publisher's), CC and BCC (they are routes of their own), and whatever the broker noted on the message's way.
    """
    kept = {key: value for key, value in message.headers.items() if _travels(key, value)}
    return aio_pika.Message(
        message.body,
        headers=kept | dict(headers),
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        message_id=message_id or message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )


def _travels(key: str, value: object) -> bool:
    if key.startswith("x-") or key.upper() in {"CC", "BCC"}:
        return False
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _LARGEST_HEADER)


def from_message(message: AbstractIncomingMessage, queue: str) -> Envelope | Unreadable:
    """Read what was delivered from a queue."""
    headers = message.headers
    attempt = _number(headers.get(ATTEMPT), at_least=1)
    generation = _number(headers.get(GENERATION), at_least=1)
    job_id = _id(message.message_id)
    if problem := _problem(message, job_id):
        return Unreadable(*problem, job_id, attempt, generation)
    assert job_id is not None
    assert message.type is not None
    return Envelope(
        id=job_id,
        queue=queue,
        type=message.type,
        body=message.body,
        attempt=attempt,
        generation=generation,
        delivery=_number(headers.get(_BROKER_COUNT), at_least=0),
        submitted_at=_submitted(message.timestamp, job_id),
        priority=message.priority or None,  # our client library writes 0 for none
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        traceparent=_text(headers.get(TRACEPARENT)),
    )


def _problem(message: AbstractIncomingMessage, job_id: UUID | None) -> tuple[DeadReason, str] | None:
    """What keeps a message from being run, the size first: nothing looks into a body that is too large."""
    if len(message.body) > LARGEST_BODY:
        return DeadReason.TOO_LARGE, f"the body is {len(message.body):,} bytes, and must be at most {LARGEST_BODY:,}"
    if job_id is None:
        return DeadReason.NO_ID, f"message_id is {message.message_id!r}, and must be a UUID"
    if not message.type:
        return DeadReason.UNKNOWN_TYPE, "the property `type` is empty, and must name a job type"
    return None


def _id(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None


def _number(value: object, at_least: int) -> int:
    """A foreign client may send anything; what is no number counts as the least."""
    return max(value, at_least) if isinstance(value, int) and not isinstance(value, bool) else at_least


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _submitted(stamp: datetime | None, job_id: UUID) -> datetime | None:
    """AMQP's timestamps have whole seconds; a UUIDv7 that was made in that second knows the millisecond."""
    if stamp is None:
        return None
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    if job_id.version == 7:
        made = (job_id.int >> 80) / 1000  # seconds; what another client put there may be beyond any date
        if abs(made - stamp.timestamp()) < _SAME_SECOND:
            return datetime.fromtimestamp(made, UTC)
    return stamp
