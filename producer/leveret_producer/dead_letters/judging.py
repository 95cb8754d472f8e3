"""Decide what becomes of an old message in a queue of dead letters, by what the store says of its job."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from uuid import UUID

from leveret.jobs import FINAL, State


class Verdict(Enum):
    GONE = "gone"  # it can go: its job was redriven or purged, or came to another end after all
    STAYS = "stays"
    UNKNOWN = "unknown"  # it stays, and the store has to be told of it


@dataclass(frozen=True, slots=True)
class Known:
    """What the store says of a job."""

    queue: str
    state: str
    generation: int
    purged: bool
    has_payload: bool


def outlived(id: UUID, submitted_at: datetime | None, now: datetime, retention: timedelta) -> bool:
    """Say whether a job began so long ago that the store may have known it, and removed it since.

    A job whose beginning can't be told counts as young.
    """
    began = max((one for one in (submitted_at, _time_of(id)) if one), default=None)
    return began is not None and now - began > retention


def judge(queue: str, generation: int, known: Known | None, *, old: bool = False) -> Verdict:
    """Return what becomes of a dead letter of a queue, of this generation of its job.

    What the store says of an earlier generation says nothing: it has not heard of this one's end yet. What it does not
    know, it may have known and removed, if that is `old` enough: told of it, it would take a dead
    letter that was redriven or purged long ago for an open one.
    """
    if known is None:
        return Verdict.STAYS if old else Verdict.UNKNOWN
    if known.queue != queue:
        return Verdict.STAYS  # the id belongs to another queue's job
    if known.generation > generation:
        return Verdict.GONE  # redriven
    if known.generation < generation:
        return Verdict.STAYS
    if known.purged if known.state == State.DEAD else known.state in FINAL:
        return Verdict.GONE
    return Verdict.STAYS if known.has_payload else Verdict.UNKNOWN


def _time_of(id: UUID) -> datetime | None:
    """Return the time that a UUIDv7 begins with; None: it tells none."""
    milliseconds = id.int >> 80
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if id.version == 7 and milliseconds < 1 << 47 else None
