"""Which attempts of one job were running at the same time, by the one clock of the witness that they were connected to.

A connection that is lost is given up by both sides, the consumer first: then what ran there is stopped before the broker
gives it away. So no two runs of one job may overlap, with these exceptions, which are told and fail nothing:

* a thread can't be stopped;
* two messages of one job, made when a confirm was lost, are delivered to two consumers. They have the same number of
  deliveries; two deliveries of one message have not;
* a broker that dies while a consumer is cut off from it can't tell that consumer, and gives its jobs to others at once.

And no attempt that had ended runs again in the process that it had ended in: that remembers it until it's acknowledged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from chaos.causes import copies
from chaos.evidence import Accepted, Happened, Presence
from chaos.plan import Kind, Part

NOTICED = 0.5  # s: less may lie between two sockets of a busy witness
ENDED = frozenset({"returned", "raised"})


class Why(StrEnum):
    """What let two runs go on at the same time, or one begin that had ended."""

    TWINS = "at the same time"
    THREADS = "at the same time, in threads"
    COPIES = "at the same time, as two messages"
    UNREACHABLE = "at the same time, while the broker died that it was cut off from"
    FORGOTTEN = "again, where it had ended before"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs of one job."""

    job: str
    part: Part
    why: Why
    first: Presence
    second: Presence
    seconds: float  # that both went on

    def __str__(self) -> str:
        one, other = self.first, self.second
        return (
            f"{self.job} ({self.part}) ran {self.why}: attempt {one.attempt}, delivery {one.delivery} on {one.pod} "
            f"({one.kind}, {one.began:.1f} to {_until(one)}), attempt {other.attempt}, delivery {other.delivery} on "
            f"{other.pod} ({other.began:.1f} to {_until(other)}): {self.seconds:.1f} s together"
        )


def pairs(one: Accepted, present: Sequence[Presence], faults: Sequence[Happened], read_at: float) -> list[Pair]:
    """Return what went wrong between the runs of one job, the longest first; `read_at` is when the witness was asked."""
    runs = sorted(present, key=lambda run: run.began)
    found = []
    for first, second in combinations(runs, 2):
        seconds = min(first.ended or read_at, second.ended or read_at) - second.began
        if seconds > NOTICED:
            why = _why_together(one, runs, first, second, faults)
            found.append(Pair(one.id, one.job.part, why, first, second, seconds))
        elif _forgotten(first, second):
            found.append(Pair(one.id, one.job.part, Why.FORGOTTEN, first, second, 0.0))
    return sorted(found, key=lambda pair: -pair.seconds)


def _why_together(
    one: Accepted, runs: Sequence[Presence], first: Presence, second: Presence, faults: Sequence[Happened]
) -> Why:
    if first.kind == "thread":
        return Why.THREADS
    if _two_messages(runs) and (one.sent > 1 or any(copies(happened.fault, one.job.part) for happened in faults)):
        return Why.COPIES
    if _broker_died_in_cut(first, second, faults):
        return Why.UNREACHABLE
    return Why.TWINS


def _two_messages(runs: Sequence[Presence]) -> bool:
    """Say whether there were two messages of one attempt: a message is never delivered twice with the same number."""
    deliveries = [(run.attempt, run.delivery) for run in runs]
    return len(set(deliveries)) < len(deliveries)


def _broker_died_in_cut(first: Presence, second: Presence, faults: Sequence[Happened]) -> bool:
    cuts = [
        one
        for one in faults
        if one.fault.kind is Kind.CUT and one.fault.other is Part.BROKER and {first.pod, second.pod} & set(one.pods)
    ]
    died = [
        one for one in faults if one.fault.part is Part.BROKER and one.fault.kind in (Kind.KILL, Kind.DELETE, Kind.STOP)
    ]
    return any(cut.began <= death.ended and death.began <= cut.ended for cut in cuts for death in died)


def _forgotten(first: Presence, second: Presence) -> bool:
    """Say whether a message came again to where its attempt had ended, and ran again. A process of its own remembers nothing."""
    same = (first.process, first.attempt) == (second.process, second.attempt) and first.kind != "cpu"
    return same and first.last in ENDED and second.delivery > first.delivery


def _until(run: Presence) -> str:
    return "now" if run.ended is None else f"{run.ended:.1f}, {run.last}"
