"""A job, its states, and the order of the states.

The same job is reported on by several processes, in any order and more than once. Each report has a *merge key*, a
number; the row takes the report with the larger key. That makes the merge a join (commutative, associative,
idempotent), so a job's state only moves forward within a generation, whatever arrives when.
"""

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class State(StrEnum):
    """Where a job is."""

    ACCEPTED = "accepted"  # stored
    SCHEDULED = "scheduled"  # stored, and not before its time
    BLOCKED = "blocked"  # stored, and not before others have ended; read, and written by nobody yet
    QUEUED = "queued"  # confirmed by the broker
    RUNNING = "running"
    RETRYING = "retrying"  # waits for its next attempt
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"


FINAL = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})


class DeadReason(StrEnum):
    """Why a job is a dead letter; travels in the header `leveret-reason`."""

    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    NO_ID = "NoId"
    NOT_JSON = "NotJson"
    UNKNOWN_TYPE = "UnknownType"
    INVALID_PAYLOAD = "InvalidPayload"
    TOO_LARGE = "TooLarge"
    REJECTED = "Rejected"  # the handler said so
    GAVE_UP = "GaveUp"  # an exception that its policy does not try again
    DELIVERY_LIMIT = "DeliveryLimit"  # delivered too often without an end: it ends its consumer's process, perhaps
    QUEUE_GONE = "QueueGone"  # published for a queue that no JobQueue has
    INVALID_DELAY = "InvalidDelay"  # a header that says when it may run, and can't be read
    DEADLINE_EXCEEDED = "DeadlineExceeded"  # its deadline, or the expiration that its sender gave the message


class DeadLetterInfo(msgspec.Struct, frozen=True):
    """What another queue's dead letter was: for the job that is made of it where a JobQueue consumes them."""

    id: UUID  # of the job that died; the one made of it has another
    queue: str
    reason: str | None  # a DeadReason, or what the broker wrote; None where nobody did
    error: str | None  # its message
    attempts: int  # that it had there
    started_at: datetime | None = None  # its last attempt there; None where none was started, and for the broker's own
    died_at: datetime | None = None
    generation: int = 1  # that it died in; a consumer of 0.1.0 doesn't hand it on


Header = str | int | float | bool


class Envelope(msgspec.Struct, frozen=True):
    """One message on a job queue: the job, and which attempt of it this is."""

    id: UUID
    queue: str
    type: str
    body: bytes  # the payload, JSON as it was sent
    attempt: int = 1  # 1…
    generation: int = 1  # 1…; a redrive raises it
    delivery: int = 0  # how often the broker delivered this message before
    submitted_at: datetime | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    traceparent: str | None = None
    dead_letter: DeadLetterInfo | None = None  # made of another queue's
    given_back_since: datetime | None = None  # when a consumer of another version first gave it back
    deadline: datetime | None = None  # no attempt starts then or later, and one that runs is stopped
    not_before: datetime | None = None  # as its sender asked, where that is ahead
    headers: dict[str, Header] | None = None  # of the sender, where the store publishes it


def uuid7(milliseconds: int, random: bytes, *, version: int = 7) -> UUID:
    """Make a UUIDv7 of a Unix time and of 10 random bytes (RFC 9562, 5.7); or one of another version, of the same form."""
    low = int.from_bytes(random) & ~(0xF << 76) & ~(3 << 62)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | version << 76 | 2 << 62 | low)


def made_at(job_id: UUID) -> datetime | None:
    """Return when a UUIDv7 was made, to the millisecond; None for another one, and for a time beyond any date."""
    try:
        return datetime.fromtimestamp((job_id.int >> 80) / 1000, UTC) if job_id.version == 7 else None
    except (ValueError, OverflowError, OSError):
        return None


_STEP = {
    State.ACCEPTED: 0,
    State.SCHEDULED: 0,
    State.BLOCKED: 0,
    State.QUEUED: 1,
    State.RUNNING: 2,
    State.RETRYING: 3,
}
_RANK = {State.DEAD: 1, State.CANCELLED: 2, State.SUCCEEDED: 3}
_FIELD_BITS = 15
_FIELD_MAX = (1 << _FIELD_BITS) - 1


def merge_key(state: State, generation: int, attempt: int = 0, delivery: int = 0) -> int:
    """Return a report's place in the order of all reports on its job, below 2^63.

    Not final: (generation, 0, attempt, delivery, step). Final: (generation, 1, rank, 0, 0). The fields are compared
    from the left; they are packed into one integer so that a database compares them in one instruction. Numbers above
    32,767 count as 32,767.
    """
    if state in FINAL:
        return _pack(generation, 1, _RANK[state], 0, 0)
    return _pack(generation, 0, attempt, delivery, _STEP[state])


def _pack(generation: int, final: int, major: int, minor: int, step: int) -> int:
    key = min(generation, _FIELD_MAX)
    key = key << 1 | final
    key = key << _FIELD_BITS | min(major, _FIELD_MAX)
    key = key << _FIELD_BITS | min(minor, _FIELD_MAX)
    return key << 2 | step
