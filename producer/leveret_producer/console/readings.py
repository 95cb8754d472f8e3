"""What one view of the page needs from Prometheus: the queues as they are now, and every panel's series.

Everything is asked for at once, and the answer is kept for a moment, so that many viewers cost what one costs. A viewer
who leaves does not end a reading that others wait for.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from leveret.panels import PANELS, QUEUES_NOW, Column, Panel, Query, fill
from leveret_producer.console.chart import Window
from leveret_producer.console.prometheus import Prometheus, QueryRefused, Series

KEPT_FOR = 2.0  # s
KEPT_AT_MOST = 32  # readings: queues × spans that somebody looks at


class Span(Enum):
    """How far back the panels look, in 180 to 720 steps; a step is at least the time between two scrapes."""

    QUARTER = ("15m", timedelta(minutes=15), timedelta(seconds=5))
    HOUR = ("1h", timedelta(hours=1), timedelta(seconds=15))
    QUARTER_DAY = ("6h", timedelta(hours=6), timedelta(minutes=1))
    DAY = ("24h", timedelta(hours=24), timedelta(minutes=2))

    def __init__(self, word: str, length: timedelta, step: timedelta) -> None:
        self.word, self.length, self.step = word, length, step

    @classmethod
    def of(cls, word: str) -> "Span":
        return next((span for span in cls if span.word == word), cls.QUARTER)


@dataclass(frozen=True, slots=True)
class Found:
    """One query's series."""

    query: Query
    series: tuple[Series, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    panel: Panel
    found: tuple[Found, ...]
    refused: str | None = None  # what Prometheus had against a query


@dataclass(frozen=True, slots=True)
class QueueNow:
    name: str
    values: tuple[float | None, ...]  # one per column of QUEUES_NOW


@dataclass(frozen=True, slots=True)
class Reading:
    window: Window
    queues: tuple[QueueNow, ...]  # all there are, whatever queue the panels are for
    drawn: tuple[Drawn, ...]


class Readings:
    """Readings of one Prometheus, shared by all viewers."""

    def __init__(self, prometheus: Prometheus, clock: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._clock = clock
        self._kept: dict[tuple[str | None, Span], tuple[float, asyncio.Task[Reading]]] = {}

    async def get(self, queue: str | None, span: Span) -> Reading:
        """Return a reading that is at most a moment old; raise Unreachable when there is none to be had."""
        now = self._clock()
        for key, (since, _) in list(self._kept.items()):
            if not now - KEPT_FOR < since <= now:
                del self._kept[key]
        if (queue, span) not in self._kept:
            if len(self._kept) >= KEPT_AT_MOST:
                del self._kept[next(iter(self._kept))]
            reading = asyncio.create_task(self._read(queue, span, now))
            reading.add_done_callback(_look_at)
            self._kept[queue, span] = now, reading
        return await asyncio.shield(self._kept[queue, span][1])

    async def _read(self, queue: str | None, span: Span, now: float) -> Reading:
        window = Window(now - span.length.total_seconds(), now, span.step.total_seconds())
        # The table first: where nobody answers, one question finds it out instead of fifty.
        queues = await self._queues(now)
        drawn = await asyncio.gather(*(self._panel(panel, queue, span, window) for panel in PANELS))
        return Reading(window, queues, tuple(drawn))

    async def _panel(self, panel: Panel, queue: str | None, span: Span, window: Window) -> Drawn:
        async def found(query: Query) -> Found:
            promql = fill(query.promql, queue, span.step)
            return Found(query, tuple(await self._prometheus.over(promql, window.start, window.end, window.step)))

        try:
            return Drawn(panel, tuple(await asyncio.gather(*map(found, panel.queries))))
        except QueryRefused as problem:
            return Drawn(panel, (), str(problem))

    async def _queues(self, now: float) -> tuple[QueueNow, ...]:
        columns = await asyncio.gather(*(self._column(column, now) for column in QUEUES_NOW))
        names = sorted({name for column in columns for name in column})
        return tuple(QueueNow(name, tuple(column.get(name) for column in columns)) for name in names)

    async def _column(self, column: Column, now: float) -> dict[str, float | None]:
        try:
            samples = await self._prometheus.now(fill(column.promql, None), now)
        except QueryRefused:
            return {}
        return {sample.labels["queue"]: sample.value for sample in samples if "queue" in sample.labels}


def _look_at(reading: asyncio.Task[Reading]) -> None:
    """Take the error of a reading whose viewers have all left: else asyncio complains that nobody did."""
    if not reading.cancelled():
        reading.exception()
