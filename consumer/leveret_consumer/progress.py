"""Progress, thinned out: at most two reports a second, and the last one always.

A handler may call it a million times from any thread: while a report waits to be sent, a newer value only replaces it.
"""

import asyncio
from collections.abc import Callable

from leveret.events import Progress

PROGRESS_EVERY = 0.5  # s; with the way to the store a value is seen within a second


class Thinned:
    __slots__ = ("_closed", "_latest", "_loop", "_not_before", "_on_its_way", "_send")

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Progress], None]) -> None:
        self._loop, self._send = loop, send
        self._latest: Progress | None = None
        self._on_its_way = False
        self._closed = False
        self._not_before = loop.time()

    def __call__(self, done: float, total: float | None) -> None:
        """Note a value, from any thread."""
        self._latest = Progress(done, total)
        if not self._on_its_way and not self._closed:
            self._on_its_way = True
            self._loop.call_soon_threadsafe(self._due)

    def close(self) -> None:
        """Send what was not sent yet, and nothing after it. In the loop."""
        self._send_latest()
        self._closed = True

    def _due(self) -> None:
        wait = self._not_before - self._loop.time()
        if wait > 0:
            self._loop.call_later(wait, self._send_latest)
        else:
            self._send_latest()

    def _send_latest(self) -> None:
        # First the flag, then the value: what a thread notes in between is either taken along here or schedules anew.
        self._on_its_way = False
        latest, self._latest = self._latest, None
        if latest is not None and not self._closed:
            self._not_before = self._loop.time() + PROGRESS_EVERY
            self._send(latest)
