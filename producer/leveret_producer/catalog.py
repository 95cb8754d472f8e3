"""Which queues there are, from memory while that is fresh: a submit needn't ask the database for it."""

import asyncio
import difflib
import time
from collections.abc import Callable, Mapping

from leveret_producer.problems import Refused
from leveret_producer.store.queues import KnownQueue, Queues

FRESH = 2.0  # s for a queue that is known
RECENT = 0.2  # s for one that isn't


class Catalog:
    def __init__(self, queues: Queues, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = queues
        self._clock = clock
        self._known: Mapping[str, KnownQueue] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def find(self, name: str) -> KnownQueue:
        """Return a queue; raise Refused for an unknown one, DatabaseUnavailable if that can't be told."""
        await self._refresh(FRESH if name in self._known else RECENT)
        if name not in self._known:
            raise unknown_queue(name, self._known)
        return self._known[name]

    async def _refresh(self, older_than: float) -> None:
        async with self._reading:
            if self._read_at is None or self._clock() - self._read_at > older_than:
                self._known = await self._queues.known()
                self._read_at = self._clock()


def unknown_queue(name: str, known: Mapping[str, object]) -> Refused:
    """Say which queues are meant, perhaps."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)[:3]
    hint = f"Known ones near it: {', '.join(near)}." if near else "No queue is known yet."
    return Refused(
        "unknown-queue",
        f"There is no queue {name[:255]!r}. {hint} A queue comes with its JobQueue, a moment after it is applied; "
        "GET /v1/queues lists all. Nothing was stored.",
    )
