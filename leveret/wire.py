"""A job as an AMQP message: which property and header carries what. `reply` is the answer to one.

Any client can write such a message, so reading one returns either an envelope or the reason why it can't be run; it
never raises. The body is the payload itself and is not looked into here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import aio_pika
import msgspec
from aio_pika.abc import FieldValue

from leveret.headers import simple
from leveret.jobs import DeadLetterInfo, DeadReason, Envelope, Header, made_at
from leveret.reply import address

ATTEMPT = "leveret-attempt"
GENERATION = "leveret-generation"
REASON = "leveret-reason"
ERROR = "leveret-error"
STARTED_AT = "leveret-started-at"  # of a dead letter's last attempt; both times as RFC 3339 has them, in UTC
DIED_AT = "leveret-died-at"
DEAD_LETTER = "leveret-dead-letter"  # JSON of a DeadLetterInfo, while the job that was made of it is tried again
GIVEN_BACK_SINCE = "leveret-given-back-since"  # when a consumer of another version first gave the message back
DELIVERED = "leveret-delivered"  # of what was given back: the broker's count until then; the copy's begins anew
DEADLINE = "leveret-deadline"  # as RFC 3339 has it, with milliseconds
DELAY = "leveret-delay"  # a duration, `90s`; this and the next two are read by `leveret.delays`
RUN_AT = "leveret-run-at"  # as RFC 3339 has it
PLUGINS_DELAY = "x-delay"  # ms, as the delayed-message plugin has it
ROUTING_KEY = "leveret-routing-key"  # of what was set aside
TRACEPARENT = "traceparent"
MOST = 32_767  # attempts, generations, deliveries: more would not fit into a merge key, nor a column
FAILED_COUNT = "x-delivery-count"  # deliveries that ended with their channel, or by a reject
TAKEN_COUNT = "x-acquired-count"  # those that were given back, too
_SAME_SECOND = 2.0  # s; an AMQP timestamp is cut to the second, and two readings of a clock differ a bit
LARGEST_BODY = 256 * 1024  # bytes; the front door takes no larger payload, and a foreign client may send one
_EPOCH = datetime.fromtimestamp(0, UTC)


# What is true of one stay of a message in one queue, and not of its copies.
_OF_ITS_STAY = frozenset(
    {REASON, ERROR, STARTED_AT, DIED_AT, DEAD_LETTER, GIVEN_BACK_SINCE, DELIVERED, DELAY, RUN_AT, PLUGINS_DELAY}
)
_IN_THE_ENVELOPE = frozenset({ATTEMPT, GENERATION, TRACEPARENT, DEADLINE})


class Message(Protocol):
    """What is read of a message, as the client library has it or as it was delivered."""

    @property
    def body(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, FieldValue]: ...
    @property
    def content_type(self) -> str | None: ...
    @property
    def content_encoding(self) -> str | None: ...
    @property
    def priority(self) -> int | None: ...
    @property
    def correlation_id(self) -> str | None: ...
    @property
    def reply_to(self) -> str | None: ...
    @property
    def message_id(self) -> str | None: ...
    @property
    def timestamp(self) -> datetime | None: ...
    @property
    def type(self) -> str | None: ...
    @property
    def app_id(self) -> str | None: ...


class Unreadable(msgspec.Struct, frozen=True):
    """A message that can't be run; `id` is there if at least that could be read."""

    reason: DeadReason
    detail: str
    id: UUID | None = None
    attempt: int = 1
    generation: int = 1
    reply_to: str | None = None


def to_message(job: Envelope, extra: Mapping[str, str | int] | None = None) -> aio_pika.Message:
    """Return the message that carries a job, persistent, with `extra` headers."""
    headers: dict[str, FieldValue] = {**(job.headers or {}), ATTEMPT: job.attempt, GENERATION: job.generation}
    if job.traceparent:
        headers[TRACEPARENT] = job.traceparent
    if job.deadline:
        headers[DEADLINE] = as_time(job.deadline)
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
        reply_to=address(job.reply_to),
    )


def copy_of(
    message: Message,
    headers: Mapping[str, str | int],
    *,
    reply_to: str | None,
    message_id: str | None = None,
) -> aio_pika.Message:
    """Return a persistent copy of what was delivered, with some headers set anew, to be published elsewhere.

    `message_id` is for a message that came without one that can be used, or under another job's.

    What the sender wrote travels along, simple headers included, up to 64 KiB of them. Left out is what would make the
    copy behave: an expiration (it would vanish from the queue that it waits in), a user id (the broker refuses one that
    is not the publisher's), CC and BCC (they are routes of their own), and whatever the broker or an earlier end of the
    job noted on it.
    """
    return aio_pika.Message(
        message.body,
        headers={**simple(message.headers, _OF_ITS_STAY), **headers},
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        priority=message.priority,
        correlation_id=message.correlation_id,
        reply_to=address(reply_to),
        message_id=message_id or message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id=message.app_id,
    )


def stored_headers(headers: Mapping[str, object]) -> dict[str, Header] | None:
    """Return what the store keeps of headers beside what an envelope has: the sender's, and what a job was made of.

    It is what a message can have, so that it may come from anybody.
    """
    kept = simple(headers, _OF_ITS_STAY | _IN_THE_ENVELOPE)
    return {**kept, **simple({DEAD_LETTER: headers.get(DEAD_LETTER)})} or None


def from_message(message: Message, queue: str) -> Envelope | Unreadable:
    """Read what was delivered from a queue."""
    headers = message.headers
    attempt = _number(headers.get(ATTEMPT), at_least=1)
    generation = _number(headers.get(GENERATION), at_least=1)
    job_id = _id(message.message_id)
    if problem := _problem(message, job_id):
        return Unreadable(*problem, job_id, attempt, generation, address(message.reply_to))
    assert job_id is not None
    assert message.type is not None
    dead_letter, deadline = _dead_letter(headers.get(DEAD_LETTER)), time_of(headers.get(DEADLINE))
    return Envelope(
        id=job_id,
        queue=queue,
        type=message.type,
        body=message.body,
        attempt=attempt,
        generation=generation,
        delivery=min(delivery(headers) + _number(headers.get(DELIVERED), at_least=0), MOST),
        # The times on a message that was another queue's dead letter are those of the other job.
        submitted_at=None if dead_letter else _submitted(message.timestamp, job_id),
        priority=message.priority or None,  # our client library writes 0 for none
        correlation_id=message.correlation_id,
        reply_to=address(message.reply_to),
        traceparent=_text(headers.get(TRACEPARENT)),
        dead_letter=dead_letter,
        given_back_since=time_of(headers.get(GIVEN_BACK_SINCE)),
        deadline=deadline_of(deadline) if deadline and not dead_letter else None,
    )


def as_time(at: datetime) -> str:
    """Return what a header says of a time, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(value: object) -> datetime | None:
    """Read a header's time; None for what is none, or has no zone."""
    try:
        at = datetime.fromisoformat(value.upper()) if isinstance(value, str) else None
        return at.astimezone(UTC) if at and at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def deadline_of(at: datetime) -> datetime:
    """Return a deadline as a message carries it: in UTC, cut to the millisecond, and none is before 1970.

    Raises OverflowError for one that is no time in UTC.
    """
    at = max(at.astimezone(UTC), _EPOCH)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def dead_letter_header(info: DeadLetterInfo) -> str:
    """Return what the header `leveret-dead-letter` says."""
    return msgspec.json.encode(info).decode()


def _problem(message: Message, job_id: UUID | None) -> tuple[DeadReason, str] | None:
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


def delivery(headers: Mapping[str, FieldValue]) -> int:
    """Return the broker's count. One that is above all that this queue has delivered came with the message from another queue."""
    failed, taken = headers.get(FAILED_COUNT), headers.get(TAKEN_COUNT)
    count = _number(failed, at_least=0)
    return count if taken is None else min(count, _number(taken, at_least=0))


def _number(value: object, at_least: int) -> int:
    """A foreign client may send anything; what is no number counts as the least, and none is above 32,767."""
    return min(max(value, at_least), MOST) if isinstance(value, int) and not isinstance(value, bool) else at_least


def _dead_letter(value: object) -> DeadLetterInfo | None:
    try:
        return msgspec.json.decode(value, type=DeadLetterInfo) if isinstance(value, str) else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _submitted(stamp: datetime | None, job_id: UUID) -> datetime | None:
    """AMQP's timestamps have whole seconds; a UUIDv7 that was made in that second knows the millisecond."""
    if stamp is None:
        return None
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    made = made_at(job_id)
    return made if made and abs((made - stamp).total_seconds()) < _SAME_SECOND else stamp
