"""Which fault explains a second run: one that can cause it, at its time and at its place.

A run is repeated where the broker delivers its message again (its consumer died or was cut off, or the broker went
away), or where there are two messages of one job (a confirm or a mark was lost, and made up for by publishing again).
What stops in its own time, an operator and a clock explain nothing.
"""

from collections.abc import Sequence

from chaos.evidence import Accepted, Happened, Run, Witnessed
from chaos.plan import CONSUMERS, Fault, Kind, Part

HEARTBEATS = 45.0  # s: two missed ones of 20 s and a bit; a cut is known to the broker that much later
# s: a consumer's heartbeat is 40 s, and the broker gives it up 80 to 120 s after its last octet. A cut that's shorter than
# one heartbeat leads to that on neither side.
CONSUMERS_HEARTBEAT, CONSUMER_GIVEN_UP = 40.0, 125.0
LEASE = 45.0  # s: a job that is not marked as published is published again after 30 s
EDGE = 3.0  # s: between an event and our noting it


def cause_of(one: Accepted, first: Run, second: Run, faults: Sequence[Happened]) -> int | None:
    """Return the latest fault that can have brought the second run about. The clock of ODD's consumer proves nothing."""
    odd = one.job.part is Part.ODD
    since, until = (one.at, float("inf")) if odd else (first.started_at, second.started_at)
    for happened in reversed(faults):
        if happened.began - EDGE > until:
            continue
        if _redelivers(happened, one.job.part, first.consumer) and happened.ended + _known_after(happened) >= since:
            return happened.fault.number
        if second.delivery == 0 and copies(happened.fault, one.job.part) and happened.ended + LEASE >= one.at:
            return happened.fault.number
    return 0 if one.sent > 1 else None


def hidden_cause_of(one: Accepted, seen: Witnessed, faults: Sequence[Happened]) -> int | None:
    """Return the latest fault that can have kept a consumer from telling that it began."""
    until = max((end.at for end in seen.ends), default=float("inf"))
    for happened in reversed(faults):
        in_time = happened.began - EDGE <= until and happened.ended + _known_after(happened) >= one.at
        if in_time and _redelivers(happened, one.job.part, None):
            return happened.fault.number
    return 0 if one.sent > 1 else None


def _known_after(happened: Happened) -> float:
    fault = happened.fault
    if fault.kind is not Kind.CUT:
        return EDGE
    return CONSUMER_GIVEN_UP if fault.part in CONSUMERS and fault.seconds >= CONSUMERS_HEARTBEAT else HEARTBEATS


def _redelivers(happened: Happened, part: Part, consumer: str | None) -> bool:
    """Say whether a fault makes the broker deliver again what a consumer of that part was running (None: any of them)."""
    fault = happened.fault
    if fault.part is part:
        takes_it_away = fault.kind in (Kind.KILL, Kind.DELETE, Kind.CRASH) or _cut_from(fault, Part.BROKER)
        return takes_it_away and (consumer is None or consumer in happened.pods)
    return fault.part is Part.BROKER and fault.kind in (Kind.KILL, Kind.DELETE, Kind.STOP)


def copies(fault: Fault, part: Part) -> bool:
    """Say whether a fault can make two messages of one: a confirm or a mark that is lost is made up for by publishing again.

    A broker that goes away may have stored a message and not confirmed it: it is there twice once the broker is back, and
    both may run long after that.
    """
    if fault.kind in (Kind.MEMORY, Kind.DISK):
        return True
    if fault.kind is Kind.CUT:
        return fault.part in (Part.PRODUCER, part) and _cut_from(fault, Part.BROKER, Part.DATABASE)
    if fault.part in (Part.DATABASE, Part.BROKER):
        return fault.kind in (Kind.KILL, Kind.DELETE, Kind.STOP)
    return fault.part in (Part.PRODUCER, part) and fault.kind in (Kind.KILL, Kind.DELETE, Kind.CRASH)


def _cut_from(fault: Fault, *others: Part) -> bool:
    return fault.kind is Kind.CUT and fault.other in others
