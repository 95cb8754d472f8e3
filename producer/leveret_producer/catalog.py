"""Which queues there are, from memory while that is fresh: a submit needn't ask the database for it.

All who ask at once wait for one answer, and share it if there is none: else each would wait for a database that hangs,
one after another.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from heapq import nlargest

from leveret_producer.problems import Refused
from leveret_producer.store.postgres import DatabaseUnavailable
from leveret_producer.store.queues import KnownQueue, Queues

FRESH = 2.0  # s for a queue that is known
RECENT = 0.2  # s for one that isn't
MOST_COMPARED, MOST_NAMED = 200, 3  # names, where one is wrong
FAILED = 1.0  # s until a database that gave no answer is asked again


class Catalog:
    def __init__(self, queues: Queues, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues = queues
        self._clock = clock
        self._known: Mapping[str, KnownQueue] = {}
        self._read_at: float | None = None
        self._failure = ""
        self._failed_at: float | None = None  # None: the last answer was one
        self._reading: asyncio.Task[None] | None = None

    async def find(self, name: str) -> KnownQueue:
        """Return a queue; raise Refused for an unknown one, DatabaseUnavailable if that can't be told."""
        await self._refresh(FRESH if name in self._known else RECENT)
        if name not in self._known:
            raise unknown_queue(name, self._known, kept="Nothing was stored.")
        return self._known[name]

    async def _refresh(self, older_than: float) -> None:
        if self._within(older_than, self._read_at):
            return
        if not self._within(FAILED, self._failed_at):
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
            await asyncio.shield(self._reading)  # who asked first may go away, and the others wait on
        if self._failed_at is not None:
            raise DatabaseUnavailable(self._failure)

    async def _read(self) -> None:
        try:
            self._known = await self._queues.known()
        except DatabaseUnavailable as problem:
            self._failure, self._failed_at = str(problem), self._clock()
        else:
            self._read_at, self._failed_at = self._clock(), None
        finally:
            self._reading = None

    def _within(self, seconds: float, since: float | None) -> bool:
        return since is not None and self._clock() - since <= seconds


def unknown_queue(name: str, known: Iterable[str], *, kept: str = "") -> Refused:
    """Say which queues of the same namespace are meant, perhaps; and, of a request that brought something, what became of it.

    Anybody can ask for a wrong name, as often as they like: so only a few are looked at, and each is soon done with.
    """
    own = name.partition(".")[0] + "."
    there = [one for one in known if one.startswith(own)][:MOST_COMPARED]
    near = nlargest(MOST_NAMED, there, key=lambda one: _same(one, name) + _same(one[::-1], name[::-1]))
    hint = f" Known ones near it: {', '.join(near)}." if near else ""
    return Refused(
        "unknown-queue",
        f"There is no queue {name[:255]!r}.{hint} A queue comes with its JobQueue, a moment after it is applied; "
        f"GET /v1/queues lists all. {kept}".rstrip(),
    )


def _same(one: str, other: str) -> int:
    """Return with how many characters both begin."""
    for at, (here, there) in enumerate(zip(one, other, strict=False)):
        if here != there:
            return at
    return min(len(one), len(other))
