"""One backlog out of signals that disagree, each with its age.

*Live* is a passive declare: immediate, counts only ready messages, and answers 0 for a queue whose leader does not
answer, so a 0 is no knowledge. *Bulk* is the broker's own statistics: both counts, up to 5 s old. *Hints* say what
producers have committed and the broker has not confirmed yet; *heartbeats* say what consumers hold. What can't be
known is None, and then there is still a number that it is at least.
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


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what runs, in jobs."""

    ready: int | None
    unacked: int | None
    unconfirmed: int = 0
    in_flight: int = 0  # what consumers said they hold: the least that is unacknowledged

    @property
    def total(self) -> int | None:
        """Ready, unacknowledged and not yet confirmed; None if the broker's part isn't known."""
        if self.ready is None or self.unacked is None:
            return None
        return self.ready + self.unacked + self.unconfirmed

    @property
    def at_least(self) -> int:
        """The part that is known."""
        return (self.ready or 0) + (self.in_flight if self.unacked is None else self.unacked) + self.unconfirmed


def combine(live: Depth | None, bulk: Depth | None, *, in_flight: int, unconfirmed: int, now: datetime) -> Backlog:
    """Return one number for each part: the freshest source that can be believed.

    `in_flight` is the sum over the heartbeats in force, `unconfirmed` over the hints in force. A consumer whose
    heartbeats don't arrive is not in the sum, so alone it doesn't make *unacked* known.
    """
    fresh = bulk if bulk and now - bulk.at <= BULK_GOOD_FOR else None
    if live and live.ready and now - live.at <= LIVE_GOOD_FOR:
        ready: int | None = live.ready
    else:
        ready = fresh.ready if fresh else None
    unacked = max(fresh.unacked, in_flight) if fresh and fresh.unacked is not None else None
    return Backlog(ready, unacked, unconfirmed, in_flight)
