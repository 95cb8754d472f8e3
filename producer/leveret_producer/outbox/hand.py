"""What a replica has in hand: the jobs that wait in memory for their turn, and those that are on their way to the broker.

Some of the latter may be late. A queue without a majority of its nodes, say, confirms nothing until it has one again, and
only the broker knows whether it has the messages; so they stay on their way, and others need not wait for them. The clock
is an argument.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from leveret.jobs import Envelope
from leveret_producer.outbox.bound import Known
from leveret_producer.store.outbox import Publication

LATE_BYTES = 64 << 20  # of what is late and counted as that


@dataclass(frozen=True, slots=True)
class Held:
    """A job that this replica is to publish."""

    job: Envelope
    publication: Publication
    known: Known


class Hand:
    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Held] = asyncio.Queue()
        self._on_their_way: dict[Publication, tuple[Held, float]] = {}  # and since when
        self._of_queue: Counter[str] = Counter()
        self.waiting_bytes = 0

    @property
    def waiting(self) -> int:
        return self._waiting.qsize()

    def __bool__(self) -> bool:
        return bool(self._of_queue)

    def of_queues(self) -> Mapping[str, int]:
        return dict(self._of_queue)

    def put(self, held: Held) -> None:
        """Put a job at the end of the line."""
        self._waiting.put_nowait(held)
        self.waiting_bytes += len(held.job.body)
        self._of_queue[held.job.queue] += 1

    async def turn(self) -> Held:
        """Wait for the job whose turn it is."""
        held = await self._waiting.get()
        self.waiting_bytes -= len(held.job.body)
        return held

    def send(self, held: Held, now: float) -> None:
        """Count a job that has had its turn as on its way; `land` must follow."""
        self._on_their_way[held.publication] = held, now

    def land(self, held: Held) -> None:
        if self._on_their_way.pop(held.publication, None):
            self._drop(held)

    def late(self, before: float) -> Counter[str]:
        """Return how many of each queue's jobs are on their way since before then, as far as there is room for them."""
        room, late = LATE_BYTES, Counter[str]()
        for held, since in self._on_their_way.values():
            if since <= before and room > 0:
                late[held.job.queue] += 1
                room -= len(held.job.body)
        return late

    def give_up(self, *, on_their_way: bool) -> list[Held]:
        """Return what waits, and perhaps what is on its way: it isn't in hand any more."""
        left = [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
        self.waiting_bytes = 0
        if on_their_way:
            left.extend(held for held, _ in self._on_their_way.values())
            self._on_their_way.clear()
        for held in left:
            self._drop(held)
        return left

    def _drop(self, held: Held) -> None:
        self._of_queue[held.job.queue] -= 1
        if self._of_queue[held.job.queue] <= 0:
            del self._of_queue[held.job.queue]
