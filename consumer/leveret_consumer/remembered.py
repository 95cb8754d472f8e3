"""What a process knows of attempts beyond their deliveries: those that run, or have ended and are not acknowledged yet.

When a connection is lost, the broker gives what was unacknowledged to whoever is there, so each running attempt has a
twin to come. What to do with the one that runs?

* Letting it go on would do all its remaining effects twice, at the same time as its twin, and for nothing: its outcome
  can't be acknowledged any more. So coroutines are cancelled and processes killed, as at their time-out. Of each job
  only what was done before the cut is done again.
* A thread can't be stopped, so it goes on. If its twin comes to this process, that delivery takes over the thread's
  attempt instead of starting a second one.
* An attempt that had ended, but whose confirm or ack did not make it, is remembered: if its twin comes here, it's
  settled from memory and not run again, and what the broker had confirmed is not published again. Of those whose ack was
  written, and may be lost, only that is remembered: a delivery of one that comes again is acknowledged.

What is remembered is bounded, by number and by size; the oldest beyond that run again.

The same keeps two copies of one message (a submit is at least once) from running twice at the same time in one process.

And how often a delivery failed in the consumer itself: a message that is given back counts towards no limit of the broker's,
and one that meets an error of ours each time would go round for ever. After some times its job is a dead letter.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from uuid import UUID

from leveret import wire
from leveret.events import Error
from leveret.jobs import DeadReason, Envelope
from leveret_consumer.acks import Delivered
from leveret_consumer.ends import Cancelled, DeadLetter, Deferred, Finished, RetryAfter, Succeeded, error_of
from leveret_consumer.prefetch import MOST_EXTRA

MOST_FAILURES = 5  # times that a delivery that failed in the consumer itself is given back
_KNOWN_FAILURES = 10_000  # messages; beyond that the oldest are forgotten
MOST_BYTES = 64 * 1024 * 1024  # of the results and errors that are remembered

Key = tuple[UUID, int, int]  # job, generation, attempt


def key_of(job: Envelope) -> Key:
    return job.id, job.generation, job.attempt


@dataclass(slots=True, eq=False)
class Steps:
    """What the broker has of an end that is being settled."""

    copied: bool = False  # the copy for the next attempt, or the dead letter
    reported: bool = False  # the event
    replied: bool = False  # the reply


@dataclass(slots=True, eq=False, kw_only=True)
class Attempt(Steps):
    task: asyncio.Task[Finished]
    can_be_stopped: bool
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # of two deliveries of one attempt, one settles it

    def take_lock(self) -> None:
        """Take the lock, which must be free: then that needs no waiting."""
        with contextlib.suppress(StopIteration):
            self.lock.acquire().send(None)

    @property
    def is_told(self) -> bool:
        """Whether its end, or what follows, is known without the delivery: only the ack is missing."""
        return self.reported or (self.copied and isinstance(self.task.result().outcome, RetryAfter | DeadLetter))


class Remembered:
    def __init__(self, slots: int) -> None:
        # Twice what a connection holds at most: another queue's dead letters come beside the own queue, and a connection
        # that is lost soon after another leaves what has not come back since the first.
        self._most = 2 * (slots + MOST_EXTRA)
        self._attempts: dict[Key, Attempt] = {}
        self._acknowledged: OrderedDict[Key, None] = OrderedDict()  # the latest; an ack is written, and never confirmed
        self._to_come_back: list[tuple[Key, Attempt]] = []
        self._started = 0  # since a connection was lost
        self.internal_failures = InternalFailures()

    def get(self, key: Key) -> Attempt | None:
        return self._attempts.get(key)

    def start(self, key: Key, work: Coroutine[None, None, Finished], *, can_be_stopped: bool) -> Attempt:
        attempt = Attempt(task=asyncio.create_task(work), can_be_stopped=can_be_stopped)
        self._attempts[key] = attempt
        self._started += 1
        if self._started == self._most:
            self._give_up_waiting()
        return attempt

    def forget(self, key: Key) -> None:
        self._attempts.pop(key, None)

    def settled(self, key: Key, attempt: Attempt) -> None:
        """Forget an attempt, but not that it was told of and acknowledged."""
        self.forget(key)
        if attempt.reported:  # else it was left to the broker
            self._acknowledged[key] = None
            if len(self._acknowledged) > self._most:
                self._acknowledged.popitem(last=False)

    def was_acknowledged(self, key: Key) -> bool:
        return key in self._acknowledged

    def connection_lost(self) -> None:
        """Stop what can be stopped, and keep what can't and the latest of what has ended."""
        kept: dict[Key, Attempt] = {}
        ended = size = 0
        for key, attempt in reversed(self._attempts.items()):
            if attempt.task.done():
                ended, size = ended + 1, size + _size(attempt.task)
                if not _has_outcome(attempt.task) or ended > self._most or size > MOST_BYTES:
                    continue
            elif attempt.can_be_stopped:
                attempt.task.cancel()
                continue
            kept[key] = attempt
        self._attempts = dict(reversed(kept.items()))
        self._to_come_back, self._started = list(kept.items()), 0

    def stop(self) -> None:
        """Stop everything: nobody will ask for it any more."""
        for attempt in self._attempts.values():
            attempt.task.cancel()
        self._attempts.clear()

    def _give_up_waiting(self) -> None:
        """Free what has not come back: the broker delivers first what it has taken back, so others have settled it."""
        for key, attempt in self._to_come_back:
            if self._attempts.get(key) is attempt and attempt.task.done() and not attempt.lock.locked():
                del self._attempts[key]
        self._to_come_back = []


def _has_outcome(task: asyncio.Task[Finished]) -> bool:
    return not task.cancelled() and task.exception() is None


def _size(task: asyncio.Task[Finished]) -> int:
    outcome = task.result().outcome if _has_outcome(task) else None
    if outcome is None or isinstance(outcome, Deferred | Cancelled):
        return 0
    if isinstance(outcome, Succeeded):
        return len(outcome.result) + sum(len(one.payload) for one in outcome.follow_ups)
    return len(outcome.error.message) + len(outcome.error.traceback or "")


class InternalFailures:
    """Of this process: by job, generation and attempt."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, ...], int] = {}

    def note(self, message: Delivered) -> int:
        """Note one more; return how many there are by now."""
        key = _key_of_message(message)
        times = self._times.pop(key, 0) + 1
        self._times[key] = times
        if len(self._times) > _KNOWN_FAILURES:
            del self._times[next(iter(self._times))]
        return times

    def forget(self, message: Delivered) -> None:
        self._times.pop(_key_of_message(message), None)


def failed_too_often(problem: Exception, times: int) -> DeadLetter:
    """Return the outcome of a job that the consumer itself can't handle, however well its handler may do."""
    error = error_of(problem, DeadReason.DELIVERY_LIMIT)
    said = f"{times} times a consumer failed on this message itself, not its handler; the last time with {error.type}: {error.message}"
    return DeadLetter(DeadReason.DELIVERY_LIMIT, Error(error.reason, said, error.type, error.traceback))


def _key_of_message(message: Delivered) -> tuple[str, ...]:
    headers = message.headers
    return str(message.message_id), str(headers.get(wire.GENERATION)), str(headers.get(wire.ATTEMPT))
