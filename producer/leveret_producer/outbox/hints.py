"""When to tell the operator how much has been accepted, and what to say. The clock is an argument.

A queue's hint goes out with a commit, at once if the last one is a second old, else when it is; then every second while
the broker has not confirmed everything, and one last time with 0. The age of the oldest waiting job is told when it
begins or ends to be known, and every 5 s in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from leveret.signals import Hint

EVERY = timedelta(seconds=1)
OLDEST_EVERY = timedelta(seconds=5)
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Queue:
    committed: int = 0
    unconfirmed: int = 0
    oldest: datetime | None = None
    sent: datetime | None = None
    owed: bool = False  # there is something to say that the last hint did not
    planned: datetime | None = None  # when it is to be looked at

    def due_at(self) -> datetime | None:
        """When there is something to say; None: never."""
        if self.owed or self.unconfirmed > 0:
            return _EARLIEST if self.sent is None else self.sent + EVERY
        if self.oldest is None:
            return None
        return _EARLIEST if self.sent is None else self.sent + OLDEST_EVERY


class HintBook:
    """What one producer has to tell about each queue. What is asked of it costs as much as there are queues concerned."""

    def __init__(self, producer: str) -> None:
        self._producer = producer
        self._queues: dict[str, _Queue] = {}
        self._unconfirmed: set[str] = set()
        self._touched: set[str] = set()  # since hints were asked for
        self._planned: list[tuple[datetime, str]] = []  # a heap; what a queue's own plan doesn't say is void

    def committed(self, queue: str, jobs: int) -> None:
        known = self._touch(queue)
        known.committed += jobs
        known.owed = True

    def unconfirmed(self, jobs: Mapping[str, int]) -> None:
        """Take over how many jobs of each queue are unconfirmed; a queue that isn't named has none."""
        for name in jobs.keys() | self._unconfirmed:
            known = self._touch(name)
            now = jobs.get(name, 0)
            known.owed = known.owed or (known.unconfirmed > 0) != (now > 0)
            known.unconfirmed = now
        self._unconfirmed = {name for name, number in jobs.items() if number > 0}

    def oldest_waiting(self, since: Mapping[str, datetime | None]) -> None:
        """Take over since when each known queue's oldest job waits; one that isn't named is not known any more.

        Such a one is forgotten once the last is said of it.
        """
        for name in since.keys() | self._queues.keys():
            oldest = since.get(name)
            if oldest is None and name not in self._queues:
                continue
            known = self._touch(name)
            known.owed = known.owed or (known.oldest is None) != (oldest is None)
            known.oldest = oldest
            if name not in since and known.due_at() is None:
                del self._queues[name]

    def due(self, now: datetime) -> list[Hint]:
        """Return the hints to send now, and count them as sent."""
        looked_at, self._touched = self._touched, set()
        while self._planned and self._planned[0][0] <= now:
            at, name = heappop(self._planned)
            if (known := self._queues.get(name)) and known.planned == at:
                known.planned = None
                looked_at.add(name)
        hints = []
        for name in sorted(looked_at & self._queues.keys()):
            known = self._queues[name]
            then = known.due_at()
            if then is not None and then <= now:
                known.sent, known.owed = now, False
                hints.append(self._hint(name, known, now))
                then = known.due_at()
            if then is not None and then != known.planned:
                heappush(self._planned, (then, name))
            known.planned = then
        return hints

    def say_again(self) -> None:
        """Owe a hint for each queue: those of before may not have arrived."""
        for name in self._queues:
            self._touch(name).owed = True

    def _touch(self, queue: str) -> _Queue:
        self._touched.add(queue)
        return self._queues.setdefault(queue, _Queue())

    def _hint(self, name: str, known: _Queue, now: datetime) -> Hint:
        return Hint(
            producer=self._producer,
            queue=name,
            at=now,
            committed=known.committed,
            unconfirmed=known.unconfirmed,
            oldest_waiting_since=known.oldest,
        )
