"""One backlog out of signals that disagree, each with its age.

*Live* is a passive declare: immediate, counts only ready messages, and answers 0 for a queue whose leader does not
answer, so a 0 is no knowledge. *Bulk* is the broker's own statistics: both counts, which it writes every 5 s and we read
every 5 s. *Hints* say what producers have committed and the broker has not confirmed yet; *heartbeats* say what consumers
hold. What can't be known is None, and then there is still a number that it is at least.

Only the two counts of one bulk reading are of one moment. Where readings of different moments are put together, they may
raise the backlog and not lower it: what bulk saw ready and live doesn't is taken for running, until bulk is newer.

Consumers that take another queue's dead letters as well have two queues, whose numbers are added; one that isn't known
makes the sum unknown. What is the source's is known apart: the broker gives dead letters to one consumer at a time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

LIVE_GOOD_FOR = timedelta(seconds=2)
BULK_GOOD_FOR = timedelta(seconds=10)
WRITTEN_WITHIN = timedelta(seconds=6)  # before it is read: the broker writes every 5 s


@dataclass(frozen=True, slots=True)
class Depth:
    """One reading of a queue; a count is None where the source can't tell it."""

    at: datetime
    ready: int | None
    unacked: int | None = None

    @property
    def written_by(self) -> datetime:
        """What bulk counts is of this moment or of a later one."""
        return self.at - WRITTEN_WITHIN

    @property
    def whole(self) -> int:
        return (self.ready or 0) + (self.unacked or 0)


Reading = tuple[Depth | None, Depth | None]  # one queue's: live, bulk


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what runs, in jobs."""

    ready: int | None
    unacked: int | None
    unconfirmed: int = 0
    in_flight: int = 0  # what consumers said they hold: the least that is unacknowledged
    taken: int = 0  # was counted, and isn't ready any more: runs unseen, or has ended since
    waiting: int = 0  # the part of ready that is known: of two queues, that of one
    source: int = 0  # the part of `total` and `at_least` that is, or may be, the source's: one pod at a time has it

    @property
    def total(self) -> int | None:
        """Ready, unacknowledged and not yet confirmed; None if the broker's part isn't known."""
        return None if self.ready is None or self.unacked is None else self.at_least

    @property
    def at_least(self) -> int:
        """The part that is known."""
        ready = self.waiting if self.ready is None else self.ready
        return ready + (self.in_flight if self.unacked is None else self.unacked) + self.taken + self.unconfirmed

    @property
    def own(self) -> int:
        """What is known of the broker's messages in the queue itself, where those of a hint arrive."""
        return self.at_least - self.unconfirmed - self.source


def combine(
    live: Depth | None,
    bulk: Depth | None,
    *,
    in_flight: int,
    now: datetime,
    one_holds: int = 0,
    source: Reading | None = None,
) -> Backlog:
    """Return one number for each part: the freshest source that can be believed.

    `in_flight` is the sum over the heartbeats in force, `one_holds` the most of one consumer. A consumer whose heartbeats
    don't arrive is not in the sum, so alone it doesn't make *unacked* known. `source` is the reading of the queue of dead
    letters that the same consumers take.
    """
    readings = ((live, bulk), *([source] if source else ()))
    ready = [_ready(one, now) for one in readings]
    waiting = sum(known or 0 for known in ready)
    fresh = _fresh_bulk(together(bulk, source[1]) if source else bulk, now)
    unacked = fresh.unacked if fresh else None
    left = [_left(one, waits, now) for one, waits in zip(readings, ready, strict=True)]
    held = 0 if unacked is None else max(0, in_flight - unacked)  # what bulk hasn't seen them hold
    # Consumers take in order: what they hold beyond bulk was ready in it, as long as that many were.
    again = min(max(0, held - sum(left)), sum(_ready(one, now) or 0 for one in readings if not _by_live(one[0], now)))
    taken = 0 if unacked is None else max(0, sum(left) - held)
    waits = max(0, (ready[1] or 0) - again) + min(left[1], taken) if source else 0
    return Backlog(
        ready=None if None in ready else waiting - again,
        unacked=None if unacked is None else max(unacked, in_flight),
        in_flight=in_flight,
        taken=taken,
        waiting=waiting,
        source=waits + _source_holds(source, unacked, in_flight, one_holds) if source else 0,
    )


def together(one: Depth | None, other: Depth | None) -> Depth | None:
    """Add two queues' depths, as old as the older one; None where one is missing."""
    if one is None or other is None:
        return None
    return Depth(min(one.at, other.at), _sum(one.ready, other.ready), _sum(one.unacked, other.unacked))


def _source_holds(source: Reading, unacked: int | None, in_flight: int, one_holds: int) -> int:
    """Return how many unacknowledged ones are the source's, as far as any of the numbers says.

    Heartbeats don't tell the two queues apart: what they hold beyond bulk may be the source's, but of one consumer only.
    """
    if unacked is None:
        return min(one_holds, in_flight)
    counted = source[1].unacked if source[1] else None
    return (counted or 0) + min(one_holds, max(0, in_flight - unacked))


def _ready(reading: Reading, now: datetime) -> int | None:
    fresh = _fresh_bulk(reading[1], now)
    return _by_live(reading[0], now) or (fresh.ready if fresh else None)


def _by_live(live: Depth | None, now: datetime) -> int | None:
    return live.ready if live and now - live.at <= LIVE_GOOD_FOR else None


def _left(reading: Reading, ready: int | None, now: datetime) -> int:
    """How many that bulk saw ready are not ready any more."""
    fresh = _fresh_bulk(reading[1], now)
    return max(0, fresh.ready - ready) if fresh and fresh.ready is not None and ready is not None else 0


def _fresh_bulk(bulk: Depth | None, now: datetime) -> Depth | None:
    return bulk if bulk and now - bulk.at <= BULK_GOOD_FOR else None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
