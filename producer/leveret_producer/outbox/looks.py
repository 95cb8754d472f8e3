"""How far back each look for rows to publish goes: over all of them, or only over those that came due lately.

A row that was published leaves a dead entry at the front of the index that a look reads, and while some transaction stays
open, a dump for instance, the database may not remove it. Then a look over all rows takes longer with each job that went
through, in the end longer than the database lets it. So looks that take long are rare; between them are those that read from
a minute before the last one that found everything. What those can't see waits for the next look over all: rows that were
locked, or that were due when they were stored.
"""

BACK = 60.0  # s; the longest that a transaction which stores jobs may take, and more
LONG = 0.1  # s
SHARE = 0.05  # of the time, for long looks over everything
LONGEST_WAIT = 60.0  # s until the next one


class Looks:
    def __init__(self) -> None:
        self._complete: float | None = None  # when a look began after which nothing was left that had been due
        self._next = 0.0  # over everything, not before
        self._failing_since: float | None = None

    def reach(self, now: float) -> float | None:
        """Return how many seconds back to look; None: over everything."""
        if self._complete is None or now >= self._next:
            return None
        return now - self._complete + BACK

    def ended(self, reach: float | None, began: float, now: float, *, everything_taken: bool) -> None:
        if everything_taken:
            self._complete = began
        if reach is None:
            self._failing_since = None
            self._wait(began, now)

    def failed(self, reach: float | None, began: float, now: float) -> None:
        """It took too long: what comes due is looked for nevertheless."""
        if reach is None:
            self._complete = began if self._complete is None else self._complete
            self._failing_since = began if self._failing_since is None else self._failing_since
            self._wait(began, now)

    def failing_for(self, now: float) -> float | None:
        """Return for how many seconds no look over everything succeeded; None: the last one did."""
        return None if self._failing_since is None else now - self._failing_since

    def _wait(self, began: float, now: float) -> None:
        took = now - began
        self._next = now + (min(took / SHARE, LONGEST_WAIT) if took > LONG else 0.0)
