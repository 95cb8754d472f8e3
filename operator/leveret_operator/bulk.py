"""The broker's statistics, read again every 5 s, and how old they are."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from leveret.scaling.backlog import BULK_GOOD_FOR, Depth
from leveret.settings import Broker, MissingSetting
from leveret_operator.broker_statistics import BrokerStatistics, NoStatistics, Statistics
from leveret_operator.conditions import State
from leveret_operator.freshness import fresh, missing

log = structlog.get_logger(__name__)

EVERY = 5.0  # s; quorum queues write their numbers as often
WANTED_FOR = timedelta(seconds=30)


class Bulk:
    """The last reading of all queues; a queue that was in no answer has no depth."""

    def __init__(self, source: BrokerStatistics, read: Callable[[], Broker], clock: Callable[[], datetime]) -> None:
        """`read` gives the broker's address and credentials, anew for each request."""
        self._source, self._read, self._clock = source, read, clock
        self._of = ("", "")
        self._last: Statistics | None = None
        self._depths: dict[str, Depth] = {}
        self._wanted: dict[str, datetime] = {}  # what was asked for lately must not be missing
        self._problem: str | None = "not asked yet"

    async def run(self) -> None:
        """Read until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self.read_once()
            await asyncio.sleep(began + EVERY - loop.time())  # a node that hangs doesn't make the others' numbers old

    async def read_once(self) -> None:
        now = self._clock()
        self._wanted = {queue: at for queue, at in self._wanted.items() if now - at <= WANTED_FOR}
        try:
            broker = self._read()
            if self._of != (of := (broker.host, broker.vhost)):
                self._of, self._depths, self._last = of, {}, None  # another broker's queues may have the same names
            self._last = await self._source.read(broker, self._wanted.keys())
        except (NoStatistics, MissingSetting, ValueError) as problem:
            if self._problem != str(problem):
                log.warning("the broker's statistics can't be read", problem=str(problem))
            self._problem = str(problem)
        else:
            self._problem = None
            # While a queue gets another leader nobody tells of it; what was told is believed for as long as ever.
            self._depths = {queue: depth for queue, depth in self._depths.items() if self._is_good(depth)}
            self._depths.update(self._last.depths)

    def depth(self, queue: str) -> Depth | None:
        """Return what was said last, if that is recent enough to be believed."""
        self._wanted[queue] = self._clock()
        depth = self._depths.get(queue)
        return depth if depth and self._is_good(depth) else None

    def state(self, queues: Sequence[str], *, known: bool) -> State:
        """Return the condition MetricsFresh of who needs these queues' numbers; `known`: all of them are."""
        if known:
            return fresh(self._last, self._clock())
        lacking = next((queue for queue in queues if not _is_known(self.depth(queue))), queues[0])
        return missing(lacking, self._last, self._problem)

    def _is_good(self, depth: Depth) -> bool:
        return self._clock() - depth.at <= BULK_GOOD_FOR


def _is_known(depth: Depth | None) -> bool:
    return depth is not None and depth.ready is not None
