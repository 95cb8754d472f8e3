"""Make follow-ups, the jobs that a handler submits, of what it gives.

A follow-up's id comes from its parent and from what it is, so each run of the parent, whenever and wherever, has the same
one. What is published again is the same job: the store has it once, and its own transaction is done once.
"""

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Protocol
from uuid import UUID

import msgspec

from leveret.client import encoding
from leveret.client.errors import Unsendable
from leveret.client.values import NewJob
from leveret.durations import parse_duration
from leveret.jobs import uuid7
from leveret.retry import LONGEST_DELAY
from leveret.sdk.follow_ups import FollowUp

MOST = 1_000  # of one run
MOST_BYTES = 8 << 20  # of one run's payloads
LONGEST_NAME = 255  # bytes of a short string in AMQP
_WHERE = "the follow-up"


class Parent(Protocol):
    """What of a job its follow-ups come from."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def generation(self) -> int: ...
    @property
    def queue(self) -> str: ...
    @property
    def submitted_at(self) -> datetime | None: ...


def follow_up(parent: Parent, job: NewJob, queue: str | None, now: datetime) -> FollowUp:
    """Return a job's follow-up, in the parent's queue if none is given; raise Unsendable for what can't be one."""
    written = _read(encoding.encode(job, _WHERE))
    payload, kind = bytes(written.payload), _name(written.type, "type")
    queue = parent.queue if queue is None else _name(queue, "queue")
    what = _encode((parent.job_id, parent.generation, queue, kind)) + payload
    return FollowUp(_id(parent, what), queue, kind, payload, _run_at(written, now))


class FollowUps:
    """Counts those of one run. One at a time: of several that are alike, each has its number."""

    def __init__(self) -> None:
        self._alike: dict[UUID, int] = {}
        self._count = self._bytes = 0

    def add(self, one: FollowUp) -> FollowUp:
        """Return it, under an id of its own; raise Unsendable for one too many."""
        self._count, self._bytes = self._count + 1, self._bytes + len(one.payload)
        if self._count > MOST or self._bytes > MOST_BYTES:
            raise Unsendable(
                f"a job submits at most {MOST:,} follow-ups with {MOST_BYTES >> 20} MiB of payload, and this one would be more. "
                "It was not submitted; let one follow-up submit the rest"
            )
        number = self._alike[one.id] = self._alike.get(one.id, -1) + 1
        return msgspec.structs.replace(one, id=_like(one.id, number)) if number else one


class _Written(msgspec.Struct):
    type: str
    payload: msgspec.Raw
    run_at: datetime | None = None
    delay: str | None = None


_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(_Written).decode


def _name(name: object, what: str) -> str:
    try:
        if isinstance(name, str) and 0 < len(name.encode()) <= LONGEST_NAME:
            return name
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise Unsendable(
        f"the {what} of {_WHERE} is a text of 1 to {LONGEST_NAME} bytes, not {name!r:.80}. It was not submitted"
    )


def _run_at(job: _Written, now: datetime) -> datetime | None:
    """Return when it is to run, None for at once."""
    if job.run_at is not None and job.delay is not None:
        raise Unsendable(f"{_WHERE} has both a run_at and a delay. It was not submitted; give one of the two")
    try:
        at = job.run_at if job.delay is None else now + parse_duration(job.delay)
        if at is None or at <= now:
            return None
        if at - now <= LONGEST_DELAY:
            return at.astimezone(UTC)
    except ValueError as problem:
        raise Unsendable(f"the delay of {_WHERE}: {problem}. It was not submitted") from problem
    except OverflowError:
        pass
    raise Unsendable(f"{_WHERE} would wait for more than {LONGEST_DELAY.days} days. It was not submitted")


def _id(parent: Parent, what: bytes) -> UUID:
    """A UUIDv7 of the parent's millisecond, or of its submission's; a UUIDv8 where no time is known."""
    if parent.job_id.version == 7:
        return _hashed(parent.job_id.int >> 80, 7, what)
    if parent.submitted_at is not None:
        return _hashed(int(parent.submitted_at.timestamp() * 1000), 7, what)
    return _hashed(parent.job_id.int >> 80, 8, what)


def _like(one: UUID, number: int) -> UUID:
    return _hashed(one.int >> 80, one.int >> 76 & 0xF, b"%s %d" % (one.bytes, number))


def _hashed(first: int, version: int, what: bytes) -> UUID:
    return uuid7(first, blake2b(what, digest_size=10).digest(), version=version)
