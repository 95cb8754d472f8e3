"""What is wanted of jobs that are on their way: messages in the stream `leveret.control`, which every consumer reads.

A command is written as soon as it is wanted, and again in each *snapshot* of all that are, for as long as they are. So who
has read a whole snapshot, and what came since its first message, knows all; and what the newest whole snapshot doesn't have,
and nobody wrote since its first message, is wanted no more. That message is empty, and confirmed before the snapshot is read
from the store: what was written before it was stored before, too.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from leveret.events import Time

MOST_JOBS = 1_000  # that one message names
KEPT = timedelta(days=1)  # in the stream; and as long a command holds that nobody writes again
_ID, _GENERATION = 16, 2  # bytes
_Part = Annotated[int, msgspec.Meta(ge=0)]


class Cancel(msgspec.Struct, frozen=True, tag_field="kind", tag="cancel"):
    """Jobs that are to be cancelled, each in the one generation that it is named with."""

    queue: str
    jobs: bytes  # `pack`
    until: Time  # it holds before that


class CancelRule(msgspec.Struct, frozen=True, tag_field="kind", tag="rule", omit_defaults=True):
    """All jobs of a queue that wait, of generation 1, submitted in [since, before)."""

    queue: str
    before: Time
    until: Time
    since: Time | None = None
    type: str | None = None


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which part of which snapshot a message is; the first is 0, and the last one tells how many there are."""

    id: UUID
    part: _Part
    parts: _Part | None = None


class Control(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message."""

    at: Time
    commands: list[Cancel | CancelRule] = []
    snapshot: Snapshot | None = None


_decoder = msgspec.json.Decoder(Control)
_encode = msgspec.json.Encoder().encode


def pack(jobs: Iterable[tuple[UUID, int]]) -> bytes:
    """Return ids and generations in 18 bytes a job."""
    return b"".join(packed(job, generation) for job, generation in jobs)


def packed(job: UUID, generation: int) -> bytes:
    """Return one job's part of what `pack` returns."""
    return job.bytes + generation.to_bytes(_GENERATION, "big")


def split(jobs: bytes) -> list[bytes]:
    """Return each job's part of what `pack` returned; raise ValueError where it is cut off."""
    size = _ID + _GENERATION
    if len(jobs) % size:
        raise ValueError(f"{len(jobs)} bytes are no whole number of ids and generations")
    return [jobs[begin : begin + size] for begin in range(0, len(jobs), size)]


def unpack(jobs: bytes) -> Iterator[tuple[UUID, int]]:
    """Raise ValueError where it is cut off."""
    for one in split(jobs):
        yield UUID(bytes=one[:_ID]), int.from_bytes(one[_ID:], "big")


def encode(message: Control) -> bytes:
    return _encode(message)


def decode(body: bytes) -> Control:
    """Raise ValueError for what no version of us wrote."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError) as problem:
        raise ValueError(f"the body is no control message: {problem}") from problem


def until(now: datetime) -> datetime:
    """Return when a command that is written now ends to hold, if nobody writes it again."""
    return now + KEPT
