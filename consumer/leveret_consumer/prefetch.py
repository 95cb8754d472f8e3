"""How many messages a consumer holds at once, and for how long the broker lets it.

A message that is on its way takes a round trip, so a consumer of short jobs needs some beyond its slots, or its slots
stand idle between two. One of long jobs needs none: what it holds and doesn't run is kept from others that could. Nor
may large bodies fill its memory, so what is held beyond the slots is bounded in bytes, by the largest of the last minute.

The broker only takes a new number from a new consumer, so it is changed when it's wrong by a factor of two: raised at
once, because a burst may be over in seconds, and lowered after 30 s, or at once if bodies are too large for it. What is
known is kept from connection to connection. A new process begins with the run time that the operator tells, if it does.
"""

import math
from collections import deque
from datetime import timedelta
from itertools import pairwise

import msgspec

COVERS = 0.1  # s of work that is held beyond the slots
MOST_EXTRA = 300
EXTRA_BYTES = 32 * 2**20  # of bodies that are held beyond the slots
NOT_SEEN = 2 * 2**20  # bytes of a body while none was seen: the largest that the chart's broker takes
OVER = 60.0  # s that the mean run time and the largest body are taken over
DIFFERS_FOR = 30.0  # s before it is lowered for the run time alone
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


def most_prefetch(slots: int, largest: int | None) -> int:
    """Return the most whose bodies beyond the slots' are 32 MiB together, if each is as large as the largest, in bytes.

    Of sizes only their power of two counts, or each larger one would be another change. None: no body was seen.
    """
    size = NOT_SEEN if largest is None else 1 << max(0, largest - 1).bit_length()
    return slots + EXTRA_BYTES // size


def consumer_timeout(timeout: timedelta, slots: int, prefetch: int) -> timedelta:
    """Return how long a delivery may stay unacknowledged, at least (1 + ⌈prefetch/slots⌉) × timeout + 60 s.

    The last of `prefetch` deliveries gets its slot after all before it have run, each as long as it may.
    """
    needed = (1 + math.ceil(prefetch / slots)) * timeout + timedelta(seconds=60)
    return max(needed, LEAST_CONSUMER_TIMEOUT)


class Terms(msgspec.Struct, frozen=True):
    """What a queue is consumed by."""

    prefetch: int
    timeout: timedelta = LEAST_CONSUMER_TIMEOUT  # a delivery may stay unacknowledged for so long


class Prefetch(msgspec.Struct, frozen=True):
    """The number in use, and since when a smaller one is wanted."""

    count: int
    too_many_since: float | None = None


def consider(before: Prefetch, wants: int | None, most: int, now: float) -> Prefetch:
    """Return the prefetch after a look at what is wanted, None where that is not known, and at what bodies allow."""
    if before.count > most:
        return Prefetch(most)
    if wants is None or (wants := min(wants, most)) * 2 > before.count:
        return Prefetch(wants if wants and wants >= 2 * before.count else before.count)
    since = now if before.too_many_since is None else before.too_many_since
    return Prefetch(wants) if now - since >= DIFFERS_FOR else Prefetch(before.count, since)


class _Sample(msgspec.Struct, frozen=True):
    at: float
    attempts: int
    run_seconds: float
    busy: int
    largest: int | None


class LastMinute:
    """What ran and what came, from counts that only grow."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def note(self, at: float, attempts: int, run_seconds: float, *, busy: int, largest: int | None = None) -> None:
        """Note how many attempts have ended and how long they took together; how many slots are busy now; the largest
        body since the last time, None if none came."""
        self._samples.append(_Sample(at, attempts, run_seconds, busy, largest))
        while self._samples[0].at < at - OVER:
            self._samples.popleft()

    def mean(self) -> float | None:
        """Seconds an attempt; None if none has ended.

        Those that ended first are the short ones, so it's at least the time that slots were busy by the number that ended.
        """
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        if not (ended := last.attempts - first.attempts):
            return None
        busy = sum(one.busy * (one.at - before.at) for before, one in pairwise(self._samples))
        return max(last.run_seconds - first.run_seconds, busy) / ended

    def running_for(self) -> float | None:
        """Where nothing has ended and something runs all along: seconds that it takes at least."""
        if not self._samples or not all(one.busy for one in self._samples):
            return None
        first, last = self._samples[0], self._samples[-1]
        return last.at - first.at if first.attempts == last.attempts else None

    def largest(self) -> int | None:
        """Bytes of the largest body; None if none came."""
        return max((one.largest for one in self._samples if one.largest is not None), default=None)


class Prefetching:
    """Of one process."""

    def __init__(self, slots: int, timeout: timedelta, *, has_source: bool) -> None:
        """`timeout` is an attempt's; `has_source`: another queue's dead letters wait for the same slots."""
        self._slots, self._timeout, self._has_source = slots, timeout, has_source
        self._prefetch, self._seen = Prefetch(slots), LastMinute()
        self._told: float | None = None
        self._largest: int | None = None  # since the last note

    def told(self, run_seconds: float) -> None:
        """Take the operator's word for the mean run time, until it is known here."""
        self._told = run_seconds

    def came(self, size: int) -> None:
        """Note a body of so many bytes."""
        if self._largest is None or size > self._largest:
            self._largest = size

    def own_queue(self, now: float, attempts: int, run_seconds: float, *, busy: int) -> Terms:
        """Note how long jobs ran lately and how many run, and return what to hold of the own queue."""
        self._seen.note(now, attempts, run_seconds, busy=busy, largest=self._largest)
        self._largest = None
        self._prefetch = consider(self._prefetch, self._wanted(attempts), self._most(), now)
        return self._terms(self._prefetch.count)

    def source_queue(self) -> Terms:
        """Return what to hold of the other queue's dead letters: no extra, there are few."""
        return self._terms(self._slots)

    def most_waiting_replies(self) -> int:
        """Return how many jobs that have ended may wait for their replies: a tenth of what is held."""
        return max(1, self._prefetch.count // 10)

    def _wanted(self, attempts: int) -> int | None:
        mean = self._seen.mean()
        if mean is None and not attempts:
            mean = self._told
        if mean is not None:
            return best_prefetch(self._slots, mean)
        at_least = self._seen.running_for()
        # It may be much more, so this is no reason to hold more.
        return None if at_least is None else min(best_prefetch(self._slots, at_least), self._prefetch.count)

    def _most(self) -> int:
        """What was seen of bodies allows; where nothing came lately, what is held already was fine."""
        largest = self._seen.largest()
        return max(most_prefetch(self._slots, largest), self._prefetch.count if largest is None else 0)

    def _terms(self, count: int) -> Terms:
        held = self._prefetch.count + (self._slots if self._has_source else 0)
        return Terms(count, consumer_timeout(self._timeout, self._slots, held))
