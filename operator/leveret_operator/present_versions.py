"""Which version of the handlers is the present one of each JobQueue, told to its consumers, and how long attempts took lately.

On change of the version and to a new consumer at once, and every 5 s; on a new connection everything is told anew. Signals
are not confirmed and not kept: the next one replaces a lost one.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta

from leveret.signals import JobQueueTold

EVERY = timedelta(seconds=5)

Send = Callable[[JobQueueTold], Awaitable[None]]


class PresentVersions:
    """Knows them by queue, and what is due to be told."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}
        self._run_seconds: dict[str, float | None] = {}
        self._told: dict[str, JobQueueTold] = {}  # last, on this connection
        self._changed = asyncio.Event()

    def present(self, queue: str, version: str, run_seconds: float | None = None) -> None:
        """Call in every turn of a JobQueue that has its queue, with the version that its consumers should run."""
        self._run_seconds[queue] = run_seconds
        if self._versions.get(queue) != version:
            self._versions[queue] = version
            self._changed.set()

    def keep_only(self, queues: Collection[str]) -> None:
        """Tell of no other queue any more."""
        self._versions = {queue: version for queue, version in self._versions.items() if queue in queues}
        self._run_seconds = {queue: mean for queue, mean in self._run_seconds.items() if queue in queues}
        self._told = {queue: told for queue, told in self._told.items() if queue in queues}

    def tell_again(self, queue: str) -> None:
        """Somebody is there who was not told yet."""
        self._told.pop(queue, None)
        self._changed.set()

    def new_connection(self) -> None:
        """Everything is told anew."""
        self._told.clear()

    def due(self, now: datetime) -> list[JobQueueTold]:
        """Return what has to be told now, and take it for told."""
        due = [
            JobQueueTold(queue, now, version, self._run_seconds.get(queue))
            for queue, version in self._versions.items()
            if (last := self._told.get(queue)) is None or last.version != version or now - last.at >= EVERY
        ]
        self._told |= {told.queue: told for told in due}
        return due

    def pause(self, now: datetime) -> timedelta:
        """Return how long nothing is due unless something changes."""
        return min((told.at + EVERY - now for told in self._told.values()), default=EVERY)

    async def tell(self, send: Send, clock: Callable[[], datetime]) -> None:
        """Tell what is due until cancelled; what `send` raises is raised."""
        while True:
            self._changed.clear()
            for told in self.due(clock()):
                await send(told)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, self.pause(clock()).total_seconds())):
                    await self._changed.wait()
