"""Which version of the handlers is the present one of each JobQueue, told to its consumers.

On change at once, and every 5 s, so that a consumer that starts knows within that time; on a new connection everything is
told anew. Signals are not confirmed and not kept: the next one replaces a lost one.
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
        self._told: dict[str, JobQueueTold] = {}  # last, on this connection
        self._changed = asyncio.Event()

    def present(self, queue: str, version: str) -> None:
        """Call in every turn of a JobQueue that has its queue, with the version that its consumers should run."""
        if self._versions.get(queue) != version:
            self._versions[queue] = version
            self._changed.set()

    def keep_only(self, queues: Collection[str]) -> None:
        """Tell of no other queue any more."""
        self._versions = {queue: version for queue, version in self._versions.items() if queue in queues}
        self._told = {queue: told for queue, told in self._told.items() if queue in queues}

    def new_connection(self) -> None:
        """Everything is told anew."""
        self._told.clear()

    def due(self, now: datetime) -> list[JobQueueTold]:
        """Return what has to be told now, and take it for told."""
        due = [
            JobQueueTold(queue, now, version)
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
