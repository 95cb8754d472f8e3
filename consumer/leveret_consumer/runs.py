"""The attempts that this process runs or has run and could not acknowledge yet, by job, generation and attempt.

When a connection is lost, the broker gives what was unacknowledged to whoever is there, so each running attempt has a
twin to come. What to do with the one that runs?

* Letting it go on would do all its remaining effects twice, at the same time as its twin, and for nothing: its outcome
  can't be acknowledged any more. So coroutines are cancelled and processes killed, as at their time-out. Of each job
  only what was done before the cut is done again.
* A thread can't be stopped, so it goes on. If its twin comes to this process, that delivery takes over the thread's
  run instead of starting a second one.
* An attempt that had ended, but whose confirm or ack did not make it, is remembered: if its twin comes here, it's
  settled from memory and not run again, and what the broker had confirmed is not published again. Of those whose ack was
  written, and may be lost, only that is remembered: a delivery of one that comes again is acknowledged.

What is remembered is bounded, by number and by size; the oldest beyond that run again.

The same keeps two copies of one message (a submit is at least once) from running twice at the same time in one process.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from uuid import UUID

from leveret.jobs import Envelope
from leveret_consumer.job_events import Ended
from leveret_consumer.outcomes import DeadLetter, Deferred, RetryAfter, Succeeded
from leveret_consumer.prefetch import MOST_EXTRA
from leveret_consumer.stumbles import Stumbles

MOST_BYTES = 64 * 1024 * 1024  # of the results and errors that are remembered

Key = tuple[UUID, int, int]  # job, generation, attempt


def key_of(job: Envelope) -> Key:
    return job.id, job.generation, job.attempt


@dataclass(slots=True, eq=False)
class Run:
    task: asyncio.Task[Ended]
    can_be_stopped: bool
    copied: bool = False  # the broker has the copy for the next attempt, or the dead letter
    reported: bool = False  # the broker has the event
    replied: bool = False  # the broker has the reply
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)  # of two deliveries of one run, one settles it

    @property
    def is_told(self) -> bool:
        """Whether its end, or what follows, is known without the delivery: only the ack is missing."""
        return self.reported or (self.copied and isinstance(self.task.result().outcome, RetryAfter | DeadLetter))


class Runs:
    def __init__(self, slots: int) -> None:
        # Twice what a connection holds at most: another queue's dead letters come beside the own queue, and a connection
        # that is lost soon after another leaves what has not come back since the first.
        self._most = 2 * (slots + MOST_EXTRA)
        self._runs: dict[Key, Run] = {}
        self._acknowledged: OrderedDict[Key, None] = OrderedDict()  # the latest; an ack is written, and never confirmed
        self._to_come_back: list[tuple[Key, Run]] = []
        self._started = 0  # since a connection was lost
        self.stumbles = Stumbles()

    def get(self, key: Key) -> Run | None:
        return self._runs.get(key)

    def start(self, key: Key, attempt: Coroutine[None, None, Ended], *, can_be_stopped: bool) -> Run:
        run = Run(asyncio.create_task(attempt), can_be_stopped)
        self._runs[key] = run
        self._started += 1
        if self._started == self._most:
            self._give_up_waiting()
        return run

    def forget(self, key: Key) -> None:
        self._runs.pop(key, None)

    def settled(self, key: Key, run: Run) -> None:
        """Forget a run, but not that it was told of and acknowledged."""
        self.forget(key)
        if run.reported:  # else it was left to the broker
            self._acknowledged[key] = None
            if len(self._acknowledged) > self._most:
                self._acknowledged.popitem(last=False)

    def was_acknowledged(self, key: Key) -> bool:
        return key in self._acknowledged

    def connection_lost(self) -> None:
        """Stop what can be stopped, and keep what can't and the latest of what has ended."""
        kept: dict[Key, Run] = {}
        ended = size = 0
        for key, run in reversed(self._runs.items()):
            if run.task.done():
                ended, size = ended + 1, size + _size(run.task)
                if not _has_outcome(run.task) or ended > self._most or size > MOST_BYTES:
                    continue
            elif run.can_be_stopped:
                run.task.cancel()
                continue
            kept[key] = run
        self._runs = dict(reversed(kept.items()))
        self._to_come_back, self._started = list(kept.items()), 0

    def stop(self) -> None:
        """Stop everything: nobody will ask for it any more."""
        for run in self._runs.values():
            run.task.cancel()
        self._runs.clear()

    def _give_up_waiting(self) -> None:
        """Free what has not come back: the broker delivers first what it has taken back, so others have settled it."""
        for key, run in self._to_come_back:
            if self._runs.get(key) is run and run.task.done() and not run.settling.locked():
                del self._runs[key]
        self._to_come_back = []


def _has_outcome(task: asyncio.Task[Ended]) -> bool:
    return not task.cancelled() and task.exception() is None


def _size(task: asyncio.Task[Ended]) -> int:
    outcome = task.result().outcome if _has_outcome(task) else None
    if outcome is None or isinstance(outcome, Deferred):
        return 0
    if isinstance(outcome, Succeeded):
        return len(outcome.result)
    return len(outcome.error.message) + len(outcome.error.traceback or "")
