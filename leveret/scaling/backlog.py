"""One backlog out of signals that disagree, each with its age.

*Live* is a passive declare: immediate, counts only ready messages, and answers 0 for a queue whose leader does not
answer, so a 0 is no knowledge. *Bulk* is the broker's own statistics: both counts, which it writes every 5 s and we read
every 5 s. *Hints* say what producers have committed and the broker has not confirmed yet; *heartbeats* say what consumers
hold. What can't be known is None, and then there is still a number that it is at least.

Consumers that take another queue's dead letters as well have two queues, whose numbers are added; one that isn't known
makes the sum unknown. What is the source's is known apart: the broker gives dead letters to one consumer at a time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

LIVE_GOOD_FOR = timedelta(seconds=2)
BULK_GOOD_FOR = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Depth:
    """One reading of a queue; a count is None where the source can't tell it."""

    at: datetime
    ready: int | None
    unacked: int | None = None


Reading = tuple[Depth | None, Depth | None]  # one queue's: live, bulk


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what runs, in jobs."""

    ready: int | None
    unacked: int | None
    unconfirmed: int = 0
    in_flight: int = 0  # what consumers said they hold: the least that is unacknowledged
    waiting: int = 0  # the part of ready that is known: of two queues, that of one
    source: int = 0  # the part of `total` and `at_least` that is, or may be, the source's: one pod at a time has it

    @property
    def total(self) -> int | None:
        """Ready, unacknowledged and not yet confirmed; None if the broker's part isn't known."""
        if self.ready is None or self.unacked is None:
            return None
        return self.ready + self.unacked + self.unconfirmed

    @property
    def at_least(self) -> int:
        """The part that is known."""
        ready = self.waiting if self.ready is None else self.ready
        return ready + (self.in_flight if self.unacked is None else self.unacked) + self.unconfirmed


def combine(
    live: Depth | None,
    bulk: Depth | None,
    *,
    in_flight: int,
    unconfirmed: int,
    now: datetime,
    one_holds: int = 0,
    source: Reading | None = None,
) -> Backlog:
    """Return one number for each part: the freshest source that can be believed.

    `in_flight` is the sum over the heartbeats in force, `one_holds` the most of one consumer, `unconfirmed` the sum over
    the hints in force. A consumer whose heartbeats don't arrive is not in the sum, so alone it doesn't make *unacked*
    known. `source` is the reading of the queue of dead letters that the same consumers take.
    """
    ready = [_ready(one, now) for one in ((live, bulk), *([source] if source else ()))]
    fresh = _fresh_bulk(together(bulk, source[1]) if source else bulk, now)
    unacked = fresh.unacked if fresh else None
    return Backlog(
        ready=None if None in ready else sum(known or 0 for known in ready),
        unacked=None if unacked is None else max(unacked, in_flight),
        unconfirmed=unconfirmed,
        in_flight=in_flight,
        waiting=sum(known or 0 for known in ready),
        source=(ready[1] or 0) + _source_holds(source, unacked, in_flight, one_holds) if source else 0,
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
    live, bulk = reading
    if live and live.ready and now - live.at <= LIVE_GOOD_FOR:
        return live.ready
    fresh = _fresh_bulk(bulk, now)
    return fresh.ready if fresh else None


def _fresh_bulk(bulk: Depth | None, now: datetime) -> Depth | None:
    return bulk if bulk and now - bulk.at <= BULK_GOOD_FOR else None


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
