"""How many messages a consumer holds at once, and for how long the broker lets it.

A message that is on its way takes a round trip, so a consumer of short jobs needs some beyond its slots, or its slots
stand idle between two. One of long jobs needs none: what it holds and doesn't run is kept from others that could. The
broker only takes a new number from a new consumer, so it is changed rarely: when it's wrong by a factor of two, for 30 s.
"""

import math
from collections import deque
from dataclasses import dataclass
from datetime import timedelta

COVERS = 0.1  # s of work that is held beyond the slots
MOST_EXTRA = 300
OVER = 60.0  # s that the mean run time is taken over
DIFFERS_FOR = 30.0  # s before it is changed
# The broker's own default. A shorter one would give a job away, for a second run, because its end waits for its confirm
# under a memory or disk alarm.
LEAST_CONSUMER_TIMEOUT = timedelta(minutes=30)


def best_prefetch(slots: int, run_seconds: float) -> int:
    """Return the prefetch for a mean run time: slots + min(300, ⌈slots × 0.1 s / S⌉).

    Where less than one job would end in the 0.1 s it's the slots alone: a consumer with one slot must not keep a second
    job of an hour from the others.
    """
    if run_seconds > slots * COVERS:
        return slots
    if run_seconds * MOST_EXTRA <= slots * COVERS:
        return slots + MOST_EXTRA
    return slots + math.ceil(slots * COVERS / run_seconds)


def consumer_timeout(timeout: timedelta, slots: int, prefetch: int) -> timedelta:
    """Return how long a delivery may stay unacknowledged, at least (1 + ⌈prefetch/slots⌉) × timeout + 60 s.

    The last of `prefetch` deliveries gets its slot after all before it have run, each as long as it may.
    """
    needed = (1 + math.ceil(prefetch / slots)) * timeout + timedelta(seconds=60)
    return max(needed, LEAST_CONSUMER_TIMEOUT)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a queue is consumed by."""

    prefetch: int
    timeout: timedelta = LEAST_CONSUMER_TIMEOUT  # a delivery may stay unacknowledged for so long


@dataclass(frozen=True, slots=True)
class Prefetch:
    """The number in use, and since when another one is wanted."""

    count: int
    differs_since: float | None = None
    more: bool = False  # whether the other one is larger


def consider(before: Prefetch, wants: int | None, now: float) -> Prefetch:
    """Return the prefetch after a look at what is wanted; None where that is not known."""
    if wants is None or before.count < 2 * wants < 4 * before.count:
        return Prefetch(before.count)
    more = wants > before.count
    since = before.differs_since if before.differs_since is not None and before.more == more else now
    return Prefetch(wants) if now - since >= DIFFERS_FOR else Prefetch(before.count, since, more)


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    attempts: int
    run_seconds: float
    busy: bool


class RunTimes:
    """The mean run time of the last minute, from counts that only grow."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def note(self, at: float, attempts: int, run_seconds: float, *, busy: bool) -> None:
        """Note how many attempts have ended, how long they took together, and whether one runs."""
        self._samples.append(_Sample(at, attempts, run_seconds, busy))
        while self._samples[0].at < at - OVER:
            self._samples.popleft()

    def mean(self) -> float | None:
        """Seconds; None if nothing ran. Where nothing has ended, what runs takes at least as long as we look back."""
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        if ended := last.attempts - first.attempts:
            return (last.run_seconds - first.run_seconds) / ended
        seconds = last.at - first.at
        return seconds if seconds and all(sample.busy for sample in self._samples) else None


class Prefetching:
    """Of one connection: each begins with as many deliveries as there are slots."""

    def __init__(self, slots: int, timeout: timedelta, *, has_source: bool) -> None:
        """`timeout` is an attempt's; `has_source`: another queue's dead letters wait for the same slots."""
        self._slots, self._timeout, self._has_source = slots, timeout, has_source
        self._prefetch, self._times = Prefetch(slots), RunTimes()

    def own_queue(self, now: float, attempts: int, run_seconds: float, *, busy: bool) -> Terms:
        """Note how long jobs ran lately, and return what to hold of the own queue."""
        self._times.note(now, attempts, run_seconds, busy=busy)
        mean = self._times.mean()
        self._prefetch = consider(self._prefetch, None if mean is None else best_prefetch(self._slots, mean), now)
        return self._terms(self._prefetch.count)

    def source_queue(self) -> Terms:
        """Return what to hold of the other queue's dead letters: no extra, there are few."""
        return self._terms(self._slots)

    def most_waiting_replies(self) -> int:
        """Return how many jobs that have ended may wait for their replies: a tenth of what is held."""
        return max(1, self._prefetch.count // 10)

    def _terms(self, count: int) -> Terms:
        held = self._prefetch.count + (self._slots if self._has_source else 0)
        return Terms(count, consumer_timeout(self._timeout, self._slots, held))
