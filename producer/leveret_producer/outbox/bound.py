"""How full the outbox may become, known without counting for each request.

All replicas share the outbox, and each counts it every few seconds. In between a replica adds what it takes in, and
subtracts a job that it notes as confirmed if it is in that sum: since it was counted and was there still, or since it was
added afterwards. So the bound is never below what this replica knows to wait, and above it only by what it has not heard
of: what has left through somebody else, or while it was counted. What the others take in it learns at the next count, and
no count lets an error live on.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

RETRY_AFTER = 5  # s: by then it is counted anew
MOST_FAILED = 6  # counts in a row: then the last one that there was says nothing any more


class OutboxFull(Exception):
    """So many jobs wait for the broker that no more are taken in."""

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(f"about {waiting:,} jobs wait for the broker, and the limit is {limit:,}")
        self.waiting, self.limit = waiting, limit


@dataclass(frozen=True, slots=True)
class Known:
    """How a replica knows that a job is in the outbox."""

    counts: int  # that had begun when it learned it
    own: bool  # it was added by this replica; else it was somebody else's before


@dataclass(slots=True)
class _Sum:
    """A count, and what has changed since it began; `counted` is None while it isn't known."""

    number: int = 0
    counted: int | None = 0
    since: int = 0

    def holds(self, known: Known, job: UUID, marked: Collection[UUID]) -> bool:
        """Tell whether a job that has left is in this sum."""
        if known.counts >= self.number:
            return known.own
        return self.counted is not None and job in marked  # it was there until the mark, so also when it was counted


class Bound:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._storing = 0  # admitted, and maybe not visible to a count yet
        self._sums = [_Sum()]  # the one that holds, and the one whose count is under way
        self._failed = 0  # counts in a row

    @property
    def waiting(self) -> int:
        return max(0, (self._sums[0].counted or 0) + self._sums[0].since)

    def admit(self, jobs: int) -> None:
        """Count jobs that are about to be stored; raise OutboxFull if there is no room.

        `stored` or `not_stored` must follow.
        """
        if self.waiting >= self._limit:
            raise OutboxFull(self.waiting, self._limit)
        self._storing += jobs
        self._add(jobs)

    def stored(self, jobs: int) -> None:
        """Tell that what was admitted is stored, or may be."""
        self._storing -= jobs

    def not_stored(self, jobs: int) -> None:
        """Take back what was admitted, since it came to nothing."""
        self._storing -= jobs
        self._add(-jobs)

    def known(self, *, own: bool) -> Known:
        """Return what is to be kept with jobs that were just stored, or found there."""
        return Known(self._sums[-1].number, own)

    def confirmed(self, jobs: Iterable[tuple[UUID, Known]], marked: Collection[UUID]) -> None:
        """Subtract jobs that have left, some of them by a mark of ours; none is under way while it is counted."""
        for job, known in jobs:
            for total in self._sums:
                total.since -= total.holds(known, job, marked)

    def begin_count(self) -> None:
        """Tell that the outbox is about to be counted: what comes from now on may not be in the count."""
        self._sums = [self._sums[0], _Sum(self._sums[-1].number + 1, since=self._storing)]

    def counted(self, jobs: int) -> None:
        """Take over the count that was begun."""
        self._failed = 0
        self._sums = self._sums[-1:]
        self._sums[0].counted = jobs

    def not_counted(self) -> bool:
        """Tell that a count failed; return whether that makes the bound forget all but what comes in from now on."""
        self._failed += 1
        if self._failed % MOST_FAILED:
            return False
        self.begin_count()
        self._sums = self._sums[-1:]
        self._sums[0].counted = None
        return True

    def _add(self, jobs: int) -> None:
        for total in self._sums:
            total.since += jobs
