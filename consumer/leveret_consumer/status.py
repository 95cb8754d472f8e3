"""What this consumer is asked, to stop, and what it says of itself: ready = registered as a consumer, knowing
what is cancelled, and not draining.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog

from leveret.ending import end
from leveret.telemetry.probes import Readiness

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Stop:
    """Two flags: the first asks for a graceful end, the second for an end at once. `now` is a clock that counts seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._asked_at = 0.0
        self._signals = 0
        self.asked = asyncio.Event()
        self.at_once = asyncio.Event()
        self.because = ""
        self.exit_code = 0

    def ask(self, because: str, exit_code: int = 0) -> None:
        """Ask for a graceful end; the largest exit code that anybody asked for is the process's."""
        self.exit_code = max(self.exit_code, exit_code)
        if not self.asked.is_set():
            self.because = because
            self._asked_at = self._now()
            self.asked.set()

    def left(self, seconds: float) -> float:
        """Return what is left of so many seconds, which began when a stop was asked for; 0 if they are over."""
        return max(0.0, self._asked_at + seconds - self._now())

    async def unless_asked(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what comes of it, None once a stop is asked for: a broker that doesn't answer holds up nobody's end."""
        working, asked = asyncio.create_task(work), asyncio.create_task(self.asked.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            return None if self.asked.is_set() else working.result()
        finally:
            await end((working, asked))

    def signalled(self, name: str) -> None:
        """SIGTERM or SIGINT; the second one ends the process without waiting for jobs.

        The first may come in a drain that began by itself, and then it asks for nothing more.
        """
        self._signals += 1
        if self._signals > 1:
            log.warning("a second signal: ends at once, and running jobs go back to the queue", signal=name)
            self.exit_code = max(self.exit_code, 1)
            self.at_once.set()
        self.ask(f"signal {name}")


class Status:
    """Set in the main thread, read by the probes'. It is also the connection's listener."""

    def __init__(self, queue: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._queue, self._clock = queue, clock
        self._drains = False
        self._said = False, "starting"
        self._behind = ""
        self._lacking: dict[str, Mapping[str, str]] = {}  # connection → queues that the broker can't make
        self._now = Readiness(*self._said, clock())
        self.no_session = asyncio.Event()  # set while no connection is in use
        self.no_session.set()

    def readiness(self) -> Readiness:
        return self._now

    def starts(self, what: str) -> None:
        self._say(False, f"starting: {what}")

    def connected(self) -> None:
        self.no_session.clear()
        self._say(False, f"connected to the broker, not consuming {self._queue} yet")

    def disconnected(self, because: str) -> None:
        self.no_session.set()
        self._say(False, f"not connected to the broker: {because}")

    def waits(self, because: str) -> None:
        self._say(False, f"connected to the broker, not consuming {self._queue}: {because}")

    def is_behind(self, because: str) -> None:
        """What is cancelled is not known, and no job starts; because of nothing: it is."""
        self._behind = because
        self._say(*self._said)

    def lacks(self, connection: str, unmade: Mapping[str, str]) -> None:
        self._lacking[connection] = dict(unmade)
        self._say(*self._said)

    def consumes(self, slots: int) -> None:
        self._say(True, f"consuming {self._queue} with {slots} slots")

    def drains(self, because: str) -> None:
        """From now on never ready again."""
        self._say(False, f"draining: {because}")
        self._drains = True

    def _say(self, ready: bool, sentence: str) -> None:
        self._said = ready, sentence
        if ready and self._behind:
            ready, sentence = False, f"{sentence}, but starting nothing: {self._behind}"
        lacking = {queue: said for queues in self._lacking.values() for queue, said in queues.items()}
        sentence = "; ".join((sentence, *lacking.values()))
        if not self._drains and (ready, sentence) != (self._now.ready, self._now.says):
            self._now = Readiness(ready, sentence, self._clock())


@dataclass(slots=True)
class QueueStatus:
    """Of one queue that is consumed. `status` is the process's, ready by its own queue; there may be no other's dead letters."""

    queue: str
    slots: int
    status: Status | None
    said: str = ""

    def consumes(self) -> None:
        self.said = ""
        if self.status:
            self.status.consumes(self.slots)
        else:
            log.info("consumes dead letters", queue=self.queue)

    def waits(self, because: str) -> None:
        if self.status:
            self.status.waits(because)
        if because != self.said:
            say = log.warning if self.status else log.info
            say("waits for the queue", queue=self.queue, because=because)
        self.said = because
