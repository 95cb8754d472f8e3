"""Make reports of dead messages themselves: of dead letters, and of what the broker had no queue for.

A consumer that makes a dead letter of a job tells of it in an event, too. What the broker itself gives up (its delivery
limit, a reject without requeue, an expiration) nobody tells: there the message is all there is. So every dead letter is
read, as far as it can be, and merged with what else is known of its job.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid5

import msgspec
from aio_pika.abc import AbstractIncomingMessage

from leveret import topology, wire
from leveret.delays import not_before
from leveret.events import NO_RESULT, Error, JobEvent
from leveret.jobs import DeadReason, Envelope, State
from leveret.wire import Unreadable
from leveret_producer.recorder.merge import LONGEST_NAME, Letter, Report, clean
from leveret_producer.recorder.noted import CUT

_NAMESPACE = UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")  # RFC 9562's for object identifiers; any would do
_LOOKED_AT = wire.LARGEST_BODY + 1  # bytes of a body; that it is too large shows by the last one
_REFUSED = (
    "a client that is no consumer of Leveret rejected it, without asking for it to be delivered again, or a consumer did so "
    "because the broker took no copy of it"
)

_read_error = msgspec.json.Decoder(Error).decode


def dead_letter(message: AbstractIncomingMessage, now: datetime) -> Report:
    """Read what came from the dead letters' exchange; `now` counts where the message does not say when it died."""
    queue = message.routing_key or ""
    death = _death(message, queue)
    if death is None:
        return _report(message, _as_its_consumer_said(message), now, unanswered=False)
    when = death.get("time")
    at = when if isinstance(when, datetime) else now
    error = _as_the_broker_says(str(death.get("reason")), message)
    return _report(message, error, at.replace(tzinfo=at.tzinfo or UTC), unanswered=True)


def without_queue(message: AbstractIncomingMessage, now: datetime, *, live: bool) -> Report | Envelope:
    """Read what no queue took: a job to be published again if a JobQueue has its queue (`live`), else a dead letter.

    One whose sender asked for a later time is told as its consumer would have: the store publishes it then.
    """
    queue = message.routing_key or ""
    job = wire.from_message(message, queue)
    if not live:
        because = f"no JobQueue has the queue {queue!r}; redrive it once one has"
        return _report(message, Error(DeadReason.QUEUE_GONE, because), now, unanswered=True)
    if isinstance(job, Unreadable):
        return _report(message, Error(job.reason, job.detail), now, unanswered=True)
    try:
        at = not_before(message.headers, now)
    except ValueError as problem:
        return _report(message, Error(DeadReason.INVALID_DELAY, str(problem)), now, unanswered=True)
    if at is None:
        return msgspec.structs.replace(job, headers=wire.stored_headers(message.headers))
    dead = _report(message, Error("", ""), now, unanswered=False)
    waits = {"state": State.RETRYING, "attempt": job.attempt - 1, "publish_at": at, "retry_at": at, "error": None}
    return replace(dead, event=msgspec.structs.replace(dead.event, **waits))


def shorten(message: AbstractIncomingMessage) -> None:
    """Cut off what nobody looks at: of a dead letter that is too large for the store, what is beyond its limit.

    The whole of it is in its queue of dead letters, and a hundred such would not fit into our memory.
    """
    if message.exchange == topology.DEAD and len(message.body) > _LOOKED_AT:
        message.body = message.body[:_LOOKED_AT]  # type: ignore[misc]  # a delivered one has this slot


def is_whole(message: AbstractIncomingMessage) -> bool:
    return message.exchange != topology.DEAD or (len(message.body) < _LOOKED_AT and CUT not in message.headers)


def id_of(message: AbstractIncomingMessage, queue: str) -> UUID:
    """Return the id for a message that has none which can be used: the same at each delivery.

    Two messages that are alike in everything, and died in the same second, are one.
    """
    death = _death(message, queue) or {}
    told = (
        queue,
        message.message_id,
        message.type,
        message.timestamp,
        message.correlation_id,
        message.reply_to,
        message.app_id,
        death.get("time"),
        hashlib.sha256(message.body[:_LOOKED_AT]).hexdigest(),
    )
    return uuid5(_NAMESPACE, repr(told))


def _report(message: AbstractIncomingMessage, error: Error, at: datetime, *, unanswered: bool) -> Report:
    queue = message.routing_key or ""
    job = wire.from_message(message, queue)
    keeps_body = len(message.body) <= wire.LARGEST_BODY and CUT not in message.headers
    event = JobEvent(
        id=job.id or id_of(message, queue),
        type=message.type or "",
        state=State.DEAD,
        at=at,
        consumer="",
        attempt=job.attempt,
        generation=job.generation,
        submitted_at=job.submitted_at if isinstance(job, Envelope) else None,
        payload=msgspec.Raw(message.body) if keeps_body else NO_RESULT,
        reply_to=message.reply_to,
        priority=message.priority or None,
        traceparent=job.traceparent if isinstance(job, Envelope) else None,
        error=error,
        correlation_id=message.correlation_id,
        deadline=job.deadline if isinstance(job, Envelope) else None,
        headers=_headers(message),
    )
    return Report(queue, event, Letter(message, keeps_body, unanswered))


def _headers(message: AbstractIncomingMessage) -> dict[str, object] | None:
    return {**(wire.stored_headers(message.headers) or {})} or None


def _death(message: AbstractIncomingMessage, queue: str) -> Mapping[str, object] | None:
    """What the broker noted when it took the message out of the job queue; None if it did not.

    What it noted earlier, at the end of a wait in a delay level, is still there and is about another queue. A copy that
    a consumer of ours made has nothing of it.
    """
    deaths = message.headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return last if isinstance(last, dict) and last.get("queue") == queue else None


def _as_the_broker_says(reason: str, message: AbstractIncomingMessage) -> Error:
    match reason:
        case "delivery_limit":
            times = message.headers.get("x-delivery-count")
            return Error(
                DeadReason.DELIVERY_LIMIT,
                f"the broker delivered it {times!r} times, and each time it came back: its consumer ended or was killed, "
                "perhaps by this very job",
            )
        case "rejected":
            return Error(DeadReason.REJECTED, _REFUSED)
        case "expired":
            return Error(DeadReason.DEADLINE_EXCEEDED, "the expiration that its sender gave it passed while it waited")
        case _:
            return Error(DeadReason.REJECTED, f"the broker took it out of its queue, for the reason {reason!r}")


def _as_its_consumer_said(message: AbstractIncomingMessage) -> Error:
    """A consumer writes the reason and the error; another client that publishes here may write anything."""
    reason, error = message.headers.get(wire.REASON), message.headers.get(wire.ERROR)
    if not isinstance(reason, str) or not clean(reason, LONGEST_NAME):
        return Error(DeadReason.REJECTED, "it was published among the dead letters, without a reason")
    try:
        told = _read_error(error) if isinstance(error, str | bytes) else Error(reason, "")
    except (msgspec.MsgspecError, RecursionError):
        told = Error(reason, error if isinstance(error, str) else repr(error))
    return msgspec.structs.replace(told, reason=reason)
