"""The attempts that this process runs or has run and could not acknowledge yet, by job, generation and attempt.

When a connection is lost, the broker gives what was unacknowledged to whoever is there, so each running attempt has a
twin to come. What to do with the one that runs?

* Letting it go on would do all its remaining effects twice, at the same time as its twin, and for nothing: its outcome
  can't be acknowledged any more. So coroutines are cancelled and processes killed, as at their time-out. Of each job
  only what was done before the cut is done again.
* A thread can't be stopped, so it goes on. If its twin comes to this process, that delivery takes over the thread's
  run instead of starting a second one.
* An attempt that had ended, but whose confirm or ack did not make it, is remembered: if its twin comes here, it's
  settled from memory and not run again, and what the broker had confirmed is not published again.

The same keeps two copies of one message (a submit is at least once) from running twice at the same time in one process.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from uuid import UUID

from leveret.jobs import Envelope
from leveret_consumer.job_events import Ended
from leveret_consumer.outcomes import DeadLetter, RetryAfter
from leveret_consumer.stumbles import Stumbles

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
    def __init__(self, remembered: int) -> None:
        """`remembered` is how many ended runs are kept after a lost connection."""
        self._runs: dict[Key, Run] = {}
        self._remembered = remembered
        self.stumbles = Stumbles()

    def get(self, key: Key) -> Run | None:
        return self._runs.get(key)

    def start(self, key: Key, attempt: Coroutine[None, None, Ended], *, can_be_stopped: bool) -> Run:
        run = Run(asyncio.create_task(attempt), can_be_stopped)
        self._runs[key] = run
        return run

    def forget(self, key: Key) -> None:
        self._runs.pop(key, None)

    def connection_lost(self) -> None:
        """Stop what can be stopped, and keep what can't and the latest of what has ended."""
        for key, run in list(self._runs.items()):
            if not run.task.done() and run.can_be_stopped:
                run.task.cancel()
                del self._runs[key]
        ended = [key for key, run in self._runs.items() if run.task.done()]
        for key in ended[: max(0, len(ended) - self._remembered)]:
            del self._runs[key]

    def stop(self) -> None:
        """Stop everything: nobody will ask for it any more."""
        for run in self._runs.values():
            run.task.cancel()
        self._runs.clear()
