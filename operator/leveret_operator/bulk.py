"""The broker's statistics, read again every 5 s, and how old they are."""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from leveret.scaling.backlog import BULK_GOOD_FOR, Depth
from leveret.settings import Broker, MissingSetting
from leveret_operator.broker_statistics import BrokerStatistics, NoStatistics, Statistics

log = structlog.get_logger(__name__)

EVERY = 5.0  # s; quorum queues write their numbers as often


class Bulk:
    """The last reading of all queues; a queue that was in no answer has no depth."""

    def __init__(self, source: BrokerStatistics, read: Callable[[], Broker], clock: Callable[[], datetime]) -> None:
        """`read` gives the broker's address and credentials, anew for each request."""
        self._source, self._read, self._clock = source, read, clock
        self._last: Statistics | None = None
        self.problem: str | None = "not asked yet"

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            await self.read_once()
            await asyncio.sleep(EVERY)

    async def read_once(self) -> None:
        try:
            self._last = await self._source.read(self._read())
        except (NoStatistics, MissingSetting, ValueError) as problem:
            if self.problem != str(problem):
                log.warning("the broker's statistics can't be read", problem=str(problem))
            self.problem = str(problem)
        else:
            self.problem = None

    def depth(self, queue: str) -> Depth | None:
        """Return what the last reading said, if that is recent enough to be believed."""
        if self._last is None or self._clock() - self._last.at > BULK_GOOD_FOR:
            return None
        return self._last.depths.get(queue)
