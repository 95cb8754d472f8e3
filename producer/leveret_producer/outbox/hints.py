"""When to tell the operator how much has been accepted, and what to say. The clock is an argument.

A queue's hint goes out with a commit, at once if the last one is a second old, else when it is; then every second while
the broker has not confirmed everything, and one last time with 0. The age of the oldest waiting job is told when it
begins or ends to be known, and every 5 s in between.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from leveret.signals import Hint

EVERY = timedelta(seconds=1)
OLDEST_EVERY = timedelta(seconds=5)


@dataclass(slots=True)
class _Queue:
    committed: int = 0
    unconfirmed: int = 0
    oldest: datetime | None = None
    sent: datetime | None = None
    owed: bool = False  # there is something to say that the last hint did not


class HintBook:
    """What one producer has to tell about each queue."""

    def __init__(self, producer: str) -> None:
        self._producer = producer
        self._queues: dict[str, _Queue] = {}

    def committed(self, queue: str, jobs: int) -> None:
        known = self._queues.setdefault(queue, _Queue())
        known.committed += jobs
        known.owed = True

    def unconfirmed(self, jobs: Mapping[str, int]) -> None:
        """Take over how many jobs of each queue are unconfirmed; a queue that isn't named has none."""
        for name in jobs.keys() | self._queues.keys():
            known = self._queues.setdefault(name, _Queue())
            now = jobs.get(name, 0)
            known.owed = known.owed or (known.unconfirmed > 0) != (now > 0)
            known.unconfirmed = now

    def oldest_waiting(self, since: Mapping[str, datetime | None]) -> None:
        """Take over since when each queue's oldest job waits; a queue that isn't named has none."""
        for name in since.keys() | self._queues.keys():
            oldest = since.get(name)
            if oldest is None and name not in self._queues:
                continue
            known = self._queues.setdefault(name, _Queue())
            known.owed = known.owed or (known.oldest is None) != (oldest is None)
            known.oldest = oldest

    def due(self, now: datetime) -> list[Hint]:
        """Return the hints to send now, and count them as sent."""
        hints = []
        for name, known in self._queues.items():
            if self._is_due(known, now):
                known.sent, known.owed = now, False
                hints.append(
                    Hint(
                        producer=self._producer,
                        queue=name,
                        at=now,
                        committed=known.committed,
                        unconfirmed=known.unconfirmed,
                        oldest_waiting_since=known.oldest,
                    )
                )
        return hints

    def say_again(self) -> None:
        """Owe a hint for each queue: those of before may not have arrived."""
        for known in self._queues.values():
            known.owed = True

    @staticmethod
    def _is_due(known: _Queue, now: datetime) -> bool:
        since = timedelta.max if known.sent is None else now - known.sent
        if known.owed or known.unconfirmed > 0:
            return since >= EVERY
        return known.oldest is not None and since >= OLDEST_EVERY
