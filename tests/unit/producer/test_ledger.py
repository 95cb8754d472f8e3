"""What became of published jobs is written down, whenever it comes, and kept while the database is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import virtual_time

from leveret.jobs import Envelope
from leveret_producer.outbox.bound import Bound
from leveret_producer.outbox.ledger import AT_ONCE, GATHER, LONGEST_WAIT, Ledger
from leveret_producer.store.outbox import Lease, Publication
from leveret_producer.store.postgres import DatabaseUnavailable, TryAgain


@dataclass
class Rows:
    """Notes what is written; `meanwhile` happens once while that is under way."""

    marked: list[UUID] = field(default_factory=list)
    released: list[tuple[Lease, float]] = field(default_factory=list)
    meanwhile: Callable[[], None] | None = None
    refuses_marks: bool = False
    statements: int = 0
    away: int = 0  # times that the database does not take it
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def mark(self, confirmed: Sequence[Publication]) -> set[UUID]:
        self.statements += 1
        if self.refuses_marks:
            raise TryAgain("deadlock")
        await self._write()
        self.marked += [one.id for one in confirmed]
        return {one.id for one in confirmed}

    async def release(self, leases: Sequence[Lease], waits: Sequence[float]) -> None:
        self.statements += 1
        await self._write()
        self.released += zip(leases, waits, strict=True)

    async def _write(self) -> None:
        await asyncio.sleep(0.005)
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("away")
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
        self.changed.set()

    async def until(self, marked: int, released: int) -> None:
        async with asyncio.timeout(30):
            while (len(self.marked), len(self.released)) != (marked, released):
                self.changed.clear()
                await self.changed.wait()


def job(number: int) -> Envelope:
    return Envelope(UUID(int=number), "q", "t", b"1")


def lease(number: int) -> Lease:
    return Lease(UUID(int=number), datetime(2026, 1, 1, tzinfo=UTC))


@contextlib.asynccontextmanager
async def running(rows: Rows, bound: Bound | None = None) -> AsyncIterator[Ledger]:
    ledger = Ledger(rows, bound or Bound(10), draw=lambda: 0.5)  # type: ignore[arg-type]
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
        ledger.released([lease(3)])
        await rows.until(marked=1, released=2)
    assert rows.released == [(lease(2), 0), (lease(3), LONGEST_WAIT / 2)]


async def test_a_stop_writes_what_is_left() -> None:
    rows = Rows()
    ledger = Ledger(rows, Bound(10))  # type: ignore[arg-type]
    ledger.confirmed(job(1), 0)
    await ledger.close(5)
    assert rows.marked == [UUID(int=1)]


def test_a_steady_flow_of_confirms_is_written_in_batches_and_holds_up_nothing_that_was_given_back() -> None:
    """A statement was written for whatever had come during the last one: five rows each, and no release until a pause."""

    async def story() -> None:
        rows = Rows()
        async with running(rows) as ledger:
            ledger.released([lease(1)])
            for number in range(2_000):
                ledger.confirmed(job(number), 0)
                await asyncio.sleep(0.001)
            assert len(rows.released) == 1
            await rows.until(marked=2_000, released=1)
        assert rows.statements <= 2 / GATHER + 2  # 10 for 1,000 marks, instead of some 200

    virtual_time.run(story())


def test_what_has_gathered_already_does_not_wait() -> None:
    async def story() -> None:
        rows = Rows()
        async with running(rows) as ledger:
            for number in range(5 * AT_ONCE):
                ledger.confirmed(job(number), 0)
            await rows.until(marked=5 * AT_ONCE, released=0)
            assert asyncio.get_running_loop().time() < GATHER

    virtual_time.run(story())


async def test_marks_that_fail_hold_up_nothing_that_was_given_back() -> None:
    rows = Rows(refuses_marks=True)
    async with running(rows) as ledger:
        ledger.confirmed(job(1), 0)
        ledger.released([lease(2)])
        await rows.until(marked=0, released=1)
        rows.refuses_marks = False
        await rows.until(marked=1, released=1)


async def test_jobs_that_the_recorder_wrote_first_leave_the_bound_too() -> None:
    """Only what the mark itself changed was subtracted: a full outbox was told of that was empty."""

    class RecorderFirst(Rows):
        async def mark(self, confirmed: Sequence[Publication]) -> set[UUID]:
            await super().mark(confirmed)
            return set()

    rows, bound = RecorderFirst(), Bound(100)
    async with running(rows, bound) as ledger:
        for _ in range(3):
            bound.admit(100)
            bound.stored(100)
            for number in range(100):
                ledger.confirmed(job(number), 0)
            rows.marked.clear()
            await rows.until(marked=100, released=0)
            await asyncio.sleep(0)
            assert bound.waiting == 0


async def test_no_count_begins_while_a_mark_is_under_way() -> None:
    rows, bound = Rows(), Bound(10)
    async with running(rows, bound) as ledger:
        bound.admit(1)
        bound.stored(1)
        known = bound.known(own=True)
        bound.begin_count()
        bound.counted(1)
        began = asyncio.Event()
        rows.meanwhile = began.set
        ledger.confirmed(job(1), 0, known)
        await began.wait()
        async with ledger.no_mark():
            assert rows.marked == [UUID(int=1)]
        bound.counted(0)
        assert bound.waiting == 0
