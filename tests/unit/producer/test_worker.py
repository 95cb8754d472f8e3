"""The worker on operations that are only pretended: when it pauses, and what it counts for the outbox."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest

from leveret_producer.metrics import Metrics
from leveret_producer.outbox.bound import Bound, OutboxFull
from leveret_producer.store.operations import Claimed, Step
from leveret_producer.store.postgres import DatabaseUnavailable
from leveret_producer.views import Operation
from leveret_producer.worker import Worker


@dataclass
class Pretended:
    """One operation with some chunks, of which each step does one; then nothing more is to be claimed."""

    chunks: list[int]
    action: str = "redrive"
    away: int = 0  # claims that meet a database that is away
    released: list[float] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    done: int = 0

    async def claim(self) -> Claimed | None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("away")
        return None if self.ended.is_set() else Claimed(UUID(int=1), "leveret.test", self.action)

    async def step(self, claimed: Claimed) -> Step:
        if self.chunks:
            self.done += (jobs := self.chunks.pop(0))
            return Step(_operation(self.done, "running"), jobs)
        self.ended.set()
        return Step(_operation(self.done, "done"))

    async def release(self, claimed: Claimed, wait_seconds: float) -> None:
        self.released.append(wait_seconds)
        self.ended.set()


def _operation(done: int, state: str) -> Operation:
    return Operation(UUID(int=1), 1_000, done, 0, state, "q", "redrive", datetime.now(UTC), None)


async def _work(operations: Pretended, bound: Bound) -> None:
    task = asyncio.create_task(Worker(operations, bound, Metrics()).run())  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        await operations.ended.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_redrive_counts_for_the_outbox_what_it_put_there() -> None:
    bound = Bound(1_000)
    await _work(Pretended([500, 300]), bound)
    bound.admit(199)
    bound.admit(1)  # 999 wait
    with pytest.raises(OutboxFull):
        bound.admit(1)


async def test_a_redrive_pauses_once_the_outbox_is_full_and_passes_the_limit_by_a_chunk_at_most() -> None:
    operations = Pretended([500, 500, 500])
    await _work(operations, Bound(600))
    assert operations.chunks == [500]
    assert operations.released == [2.0]


async def test_a_purge_does_not_ask_for_room() -> None:
    bound = Bound(1)
    bound.admit(1)
    operations = Pretended([500, 500], action="purge")
    await _work(operations, bound)
    assert operations.chunks == []
    assert operations.released == []


async def test_a_database_that_is_away_is_waited_for() -> None:
    operations = Pretended([500], away=1)
    await _work(operations, Bound(1_000))
    assert operations.done == 500
