"""Whether this consumer is ready, in one sentence: ready = registered as a consumer, and not draining."""

import asyncio
from dataclasses import dataclass

import structlog

from leveret.telemetry.probes import Readiness

log = structlog.get_logger(__name__)


class Status:
    """Set in the loop, read by the probes' threads. It is also the connection's listener."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._now = Readiness(False, "starting: not connected to the broker yet")
        self._drains = False
        self.no_session = asyncio.Event()  # set while no connection is in use
        self.no_session.set()

    def readiness(self) -> Readiness:
        return self._now

    def connected(self) -> None:
        self.no_session.clear()
        self._say(False, f"connected to the broker, not consuming {self._queue} yet")

    def disconnected(self, because: str) -> None:
        self.no_session.set()
        self._say(False, f"not connected to the broker: {because}")

    def waits(self, because: str) -> None:
        self._say(False, f"connected to the broker, not consuming {self._queue}: {because}")

    def consumes(self, slots: int) -> None:
        self._say(True, f"consuming {self._queue} with {slots} slots")

    def drains(self, because: str) -> None:
        """From now on never ready again."""
        self._say(False, f"draining: {because}")
        self._drains = True

    def _say(self, ready: bool, sentence: str) -> None:
        if not self._drains:
            self._now = Readiness(ready, sentence)


@dataclass(slots=True)
class OwnQueue:
    """Ready means that this one is consumed."""

    status: Status
    queue: str
    slots: int
    said: str = ""

    def consumes(self) -> None:
        self.said = ""
        self.status.consumes(self.slots)

    def waits(self, because: str) -> None:
        self.status.waits(because)
        if because != self.said:
            log.warning("waits for the queue", queue=self.queue, because=because)
        self.said = because


@dataclass(slots=True)
class Source:
    """Another queue's dead letters: there may be none, and no queue for them yet."""

    queue: str
    said: str = ""

    def consumes(self) -> None:
        self.said = ""
        log.info("consumes dead letters", queue=self.queue)

    def waits(self, because: str) -> None:
        if because != self.said:
            log.info("waits for a queue of dead letters", queue=self.queue, because=because)
        self.said = because
