"""How many jobs a queue may hold, known without counting for each request.

What waits and runs is what the operator saw last. It says so every few seconds; in between a replica adds what it stored
itself since then, less what was finished since then at the rate that the operator saw: else a small queue that drains fast
would seem full. What the other replicas stored meanwhile comes with the next observation, so the bound is kept to within a
few seconds of their intake. Where there is no recent observation nothing is refused: a number that isn't known is not a full
queue; nor is one from the future. The clock is an argument.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from leveret_producer.problems import Refused

BELIEVED_FOR = timedelta(seconds=30)
_GATHERED = timedelta(milliseconds=100)  # what is stored within it counts as one
RETRY_AFTER, SHORTEST, LONGEST = 10, 5, 60  # s; the first where nobody knows how fast the queue drains


@dataclass(frozen=True, slots=True)
class Length:
    """What is known of a queue whose length is limited."""

    limit: int  # jobs
    jobqueue: str
    backlog: int | None = None  # jobs that waited or ran
    at: datetime | None = None  # then
    completion_rate: float | None = None  # jobs/s

    def believed(self, now: datetime) -> bool:
        return self.backlog is not None and self.at is not None and timedelta(0) <= now - self.at <= BELIEVED_FOR


@dataclass(slots=True)
class _Stored:
    first: datetime
    last: datetime
    jobs: int


class QueueBound:
    """One replica's; holds nothing of a queue without a limit."""

    def __init__(self) -> None:
        self._storing: dict[str, int] = {}  # being stored: not dated yet
        self._stored: dict[str, deque[_Stored]] = {}

    def admit(self, queue: str, length: Length, jobs: int, now: datetime) -> None:
        """Count jobs that are about to be stored; raise Refused, all or none, if there is no room for them.

        `stored` or `not_stored` must follow.
        """
        if length.believed(now):
            held = (length.backlog or 0) + self._since(queue, length, now) + self._storing.get(queue, 0)
            if jobs and held + jobs > length.limit:
                raise _full(queue, length, held, jobs)
        self._storing[queue] = self._storing.get(queue, 0) + jobs

    def stored(self, queue: str, jobs: int, now: datetime) -> None:
        """Tell that admitted jobs are committed."""
        self.not_stored(queue, jobs)
        if not jobs:
            return
        told = self._stored.setdefault(queue, deque())
        while told and now - told[0].last > BELIEVED_FOR:
            told.popleft()
        if told and now - told[-1].first < _GATHERED:
            told[-1].last, told[-1].jobs = max(now, told[-1].last), told[-1].jobs + jobs
        else:
            told.append(_Stored(now, now, jobs))

    def not_stored(self, queue: str, jobs: int) -> None:
        """Tell that nothing came of admitted jobs."""
        left = self._storing.get(queue, 0) - jobs
        if left > 0:
            self._storing[queue] = left
        else:
            self._storing.pop(queue, None)

    def _since(self, queue: str, length: Length, now: datetime) -> int:
        """What came on top of the observed backlog; a full queue has room only when it is seen to have."""
        at = length.at or now
        stored = sum(told.jobs for told in self._stored.get(queue, ()) if told.last >= at)
        finished = max(0.0, length.completion_rate or 0.0) * max(0.0, (now - at).total_seconds())
        return 0 if finished >= stored else ceil(stored - finished)


def _full(queue: str, length: Length, held: int, jobs: int) -> Refused:
    wait = _retry_after(length.completion_rate, held + jobs - length.limit)
    never = f" A list of {jobs:,} never fits: send shorter ones." if jobs > length.limit else ""
    return Refused(
        "queue-full",
        f"The queue {queue} holds about {held:,} jobs that wait or run, this request brings {jobs:,}, and the limit is "
        f"{length.limit:,} (spec.queue.maxLength of the JobQueue {length.jobqueue}). Those are kept and run; of this request "
        f"nothing was stored.{never} Send it again in about {wait} s, or raise the limit.",
        headers={"Retry-After": str(wait)},
    )


def _retry_after(rate: float | None, excess: int) -> int:
    """Seconds until there is room, at the rate at which jobs are finished."""
    if rate is None:
        return RETRY_AFTER
    if excess >= rate * LONGEST:
        return LONGEST
    return max(SHORTEST, ceil(excess / rate))
