"""What became of published jobs is written down, whenever it comes, and kept while the database is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from leveret.jobs import Envelope
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.ledger import Ledger
from leveret_producer.store.outbox import Confirmed, Lease
from leveret_producer.store.postgres import DatabaseUnavailable


@dataclass
class Rows:
    """Notes what is written; `meanwhile` happens once while that is under way."""

    marked: list[UUID] = field(default_factory=list)
    released: list[tuple[Lease, float]] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None
    away: int = 0  # times that the database does not take it
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def mark(self, confirmed: Sequence[Confirmed]) -> int:
        await self._write()
        self.marked += [one.id for one in confirmed]
        return len(confirmed)

    async def release(self, leases: Sequence[Lease], wait_seconds: float = 0) -> None:
        await self._write()
        self.released += [(one, wait_seconds) for one in leases]

    async def _write(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("away")
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        self.changed.set()

    async def until(self, marked: int, released: int) -> None:
        async with asyncio.timeout(5):
            while (len(self.marked), len(self.released)) != (marked, released):
                self.changed.clear()
                await self.changed.wait()


def job(number: int) -> Envelope:
    return Envelope(UUID(int=number), "q", "t", b"1")


def lease(number: int) -> Lease:
    return Lease(UUID(int=number), datetime(2026, 1, 1, tzinfo=UTC))


@contextlib.asynccontextmanager
async def running(rows: Rows) -> AsyncIterator[Ledger]:
    ledger = Ledger(rows, Bound(10))  # type: ignore[arg-type]
    task = asyncio.create_task(ledger.run())
    yield ledger
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_confirm_that_comes_while_a_release_is_written_is_marked() -> None:
    rows = Rows()
    async with running(rows) as ledger:
        rows.meanwhile = lambda: ledger.confirmed(job(2), 0)
        ledger.released([lease(1)], 5.0)
        await rows.until(marked=1, released=1)
    assert rows.marked == [UUID(int=2)]


async def test_what_comes_while_a_confirm_is_marked_is_written_too() -> None:
    rows = Rows()
    async with running(rows) as ledger:

        def meanwhile() -> None:
            ledger.released([lease(2)], 1.0)
            ledger.confirmed(job(3), 0)

        rows.meanwhile = meanwhile
        ledger.confirmed(job(1), 0)
        await rows.until(marked=2, released=1)
    assert rows.marked == [UUID(int=1), UUID(int=3)]


async def test_a_database_that_is_away_gets_it_when_it_is_back() -> None:
    rows = Rows(away=2)
    async with running(rows) as ledger:
        ledger.confirmed(job(1), 0)
        ledger.released([lease(2)], 0)
        ledger.released([lease(3)], 5)
        await rows.until(marked=1, released=2)
    assert rows.released == [(lease(2), 0), (lease(3), 5)]


async def test_a_stop_writes_what_is_left() -> None:
    rows = Rows()
    ledger = Ledger(rows, Bound(10))  # type: ignore[arg-type]
    ledger.confirmed(job(1), 0)
    await ledger.close(5)
    assert rows.marked == [UUID(int=1)]
