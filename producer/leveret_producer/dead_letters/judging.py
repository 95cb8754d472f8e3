"""Decide what becomes of an old message in a queue of dead letters, by what the store says of its job."""

from dataclasses import dataclass
from enum import Enum

from leveret.jobs import State


class Verdict(Enum):
    GONE = "gone"  # it can go: its job was redriven, purged, or succeeded after all
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


def judge(queue: str, generation: int, known: Known | None) -> Verdict:
    """Return what becomes of a dead letter of a queue, of this generation of its job.

    What the store says of an earlier generation says nothing: it has not heard of this one's end yet.
    """
    if known is None:
        return Verdict.UNKNOWN
    if known.queue != queue:
        return Verdict.STAYS  # the id belongs to another queue's job
    if known.generation > generation:
        return Verdict.GONE  # redriven
    if known.generation < generation:
        return Verdict.STAYS
    if known.state == State.SUCCEEDED or (known.state == State.DEAD and known.purged):
        return Verdict.GONE
    return Verdict.STAYS if known.has_payload else Verdict.UNKNOWN
