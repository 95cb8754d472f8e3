"""Make the page: read, draw, write HTML, once for all who look at the same thing.

Drawing and writing are done in a thread of their own, for the loop has jobs to accept; and panel by panel, so that never
more than a few panels' series are in memory, whoever looks at what.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from leveret.ending import end
from leveret.panels import PANELS, Panel
from leveret_producer.console.lines import Look
from leveret_producer.console.prometheus import Prometheus
from leveret_producer.console.readings import Queues, Readings, Span
from leveret_producer.console.shared import Shared
from leveret_producer.console.view import Card, Choice, card, told_apart, view

REFRESH_EVERY = 10  # s
PANELS_AT_ONCE = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that was read for one queue, or for all, and drawn."""

    at: float
    queues: Queues
    looks: Mapping[str, Look] | None
    cards: tuple[Card, ...]


class Pages:
    """The page's HTML by what was chosen; `assets` are the addresses of its files by name."""

    def __init__(self, prometheus: Prometheus | None, clock: Callable[[], float], assets: dict[str, str]) -> None:
        self._clock, self._assets = clock, assets
        self._readings = Readings(prometheus) if prometheus else None
        self._drawings = Shared(self._draw)
        self._pages = Shared(self._write)
        self._few = asyncio.Semaphore(PANELS_AT_ONCE)
        self._thread = ThreadPoolExecutor(1, "console")
        templates = Environment(
            loader=PackageLoader("leveret_producer.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._template = templates.get_template("page.html")

    async def get(self, choice: Choice) -> str:
        """Return a page that is at most a moment old; raise Unreachable when there is nothing to be had."""
        return await self._pages.get(choice)

    def trouble(self, choice: Choice, trouble: tuple[str, str, str]) -> str:
        """Return the page that says what happened, what it means, and a command."""
        return self._render(choice, trouble=trouble)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _write(self, choice: Choice) -> str:
        drawing = await self._drawings.get((choice.queue, choice.span))
        return await self._in_thread(self._render, choice, drawing)

    async def _draw(self, key: tuple[str | None, Span]) -> Drawing:
        assert self._readings is not None
        (queue, span), now, readings = key, self._clock(), self._readings
        queues = await readings.queues(span, now)
        looks = told_apart(queues, queue)

        async def one(place: int, panel: Panel) -> Card:
            async with self._few:
                drawn = await readings.panel(panel, queue, queues.seen, span, now)
                return await self._in_thread(card, drawn, span.window(now), f"p{place}", looks)

        cards = [asyncio.ensure_future(one(place, panel)) for place, panel in enumerate(PANELS)]
        try:
            return Drawing(now, queues, looks, tuple(await asyncio.gather(*cards)))
        finally:
            await end(cards)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    def _render(
        self, choice: Choice, drawing: Drawing | None = None, trouble: tuple[str, str, str] | None = None
    ) -> str:
        shown = drawing and view(drawing.queues, drawing.cards, drawing.looks, drawing.at, choice)
        return self._template.render(
            view=shown, trouble=trouble, choice=choice, spans=tuple(Span), every=REFRESH_EVERY, assets=self._assets
        )
