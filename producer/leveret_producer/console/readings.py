"""What one view of the page needs from Prometheus: the queues as they are now, and one panel's series after the other.

Prometheus chooses which queues a panel shows, so that what is read does not grow with their number.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from leveret.panels import QUEUES_NOW, SEEN, Column, Panel, Query, fill
from leveret_producer.console.chart import Window
from leveret_producer.console.prometheus import Prometheus, QueryRefused, Sample, Series

MOST_QUEUES = 12  # in one panel: more can't be told apart


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

    def window(self, now: float) -> Window:
        return Window(now - self.length.total_seconds(), now, self.step.total_seconds())


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
class Queues:
    now: tuple[QueueNow, ...]  # all there are, whatever queue the panels are for
    seen: tuple[str, ...]  # those and the ones that are gone, and still in the window


class Readings:
    """Asks one Prometheus; each method raises Unreachable where it does not answer."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    async def queues(self, span: Span, now: float) -> Queues:
        """Ask for the table first: where nobody answers, one question finds it out instead of fifty."""
        columns = await asyncio.gather(*(self._column(column, now) for column in QUEUES_NOW))
        names = sorted({name for column in columns for name in column})
        table = tuple(QueueNow(name, tuple(column.get(name) for column in columns)) for name in names)
        seen = await self._samples(_over(fill(SEEN, None), span, "last"), now)
        return Queues(table, tuple(sorted({*names, *(one.labels["queue"] for one in seen if "queue" in one.labels)})))

    async def panel(self, panel: Panel, queue: str | None, seen: Sequence[str], span: Span, now: float) -> Drawn:
        """Read one panel, for one queue or the highest of those that were seen."""
        window = span.window(now)
        chosen: Sequence[str] | None = None if queue is None else [queue]
        try:
            if panel.by_queue and queue is None and len(seen) > MOST_QUEUES:
                chosen = await self._highest(panel, span, now)
            found = []
            for query in panel.queries:
                promql = fill(query.promql, chosen, span.step)
                series = await self._prometheus.over(promql, window.start, window.end, window.step)
                found.append(Found(query, tuple(series)))
        except QueryRefused as problem:
            return Drawn(panel, (), str(problem))
        return Drawn(panel, tuple(found))

    async def _highest(self, panel: Panel, span: Span, now: float) -> list[str]:
        """The queues with the highest values within the window, by any of the panel's queries.

        Of quantiles only by the last: it is above the others, and each costs Prometheus all buckets of all queues.
        """
        highest: dict[str, float] = {}
        quantiles = panel.queries[-1].promql.startswith("histogram_quantile")
        for query in panel.queries[-1:] if quantiles else panel.queries:
            over = _over(fill(query.promql, None, span.step), span, "max")
            for sample in await self._prometheus.now(f"topk({MOST_QUEUES}, max by (queue) ({over}))", now):
                name, value = sample.labels.get("queue", ""), -1.0 if sample.value is None else sample.value
                highest[name] = max(value, highest.get(name, value))
        return sorted(highest, key=lambda name: (-highest[name], name))[:MOST_QUEUES]

    async def _samples(self, promql: str, now: float) -> list[Sample]:
        try:
            return await self._prometheus.now(promql, now)
        except QueryRefused:
            return []

    async def _column(self, column: Column, now: float) -> dict[str, float | None]:
        samples = await self._samples(fill(column.promql, None), now)
        return {sample.labels["queue"]: sample.value for sample in samples if "queue" in sample.labels}


def _over(promql: str, span: Span, function: str) -> str:
    """Put together each series' values of the window into one."""
    length, step = (round(part.total_seconds()) for part in (span.length, span.step))
    return f"{function}_over_time(({promql})[{length}s:{step}s])"
