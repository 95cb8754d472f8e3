"""The outbox: rows of jobs that the broker has not confirmed yet.

A lease on a row says that one replica is publishing it; when the lease runs out, or that replica is seen to be dead
(`left_leases`), any replica may take the row. Taking is a transaction of its own: nothing is locked while a confirm is
awaited. A row that is not due yet has a lease until then, which nobody holds. Rows are taken in the order in which their
leases end.

A replica gives up or prolongs a lease only while the row has the very end that it wrote there: another one's ends later.

Rows are joined by their ids, and these are named once more as an array: from that the planner knows the days' partitions that
they are in. Of a join alone it can't, and at its own defaults reads all the days.
"""

import contextlib
from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import Envelope, State, merge_key
from leveret_producer.store import left_leases
from leveret_producer.store.postgres import Postgres

LEASE = 30.0  # s
EVER = 10 * 366 * 86_400.0  # s

# Of a day's partition that was never analysed the planner thinks that sorting all that waits in it is cheap: 100,000 jobs
# were read, and written to disk, for the first 500. The index has them in order.
_DONT_SORT = text("SET LOCAL enable_sort = off")
_TAKE = text(
    """
    WITH free AS (
        SELECT id, lease_until, lease_until = due_at AS arrived FROM jobs
        WHERE published_at IS NULL AND lease_until <= now() AND queue <> ALL(CAST(:except_queues AS text[]))
              AND lease_until >= now() - CAST(:reach AS double precision) * interval '1 second'
        ORDER BY lease_until, id LIMIT :most FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE jobs SET lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
        FROM free WHERE jobs.id = free.id AND jobs.id = ANY(ARRAY(SELECT id FROM free))
        RETURNING jobs.id, jobs.queue, jobs.type, jobs.generation, jobs.next_attempt, jobs.returned, jobs.correlation_id,
                  jobs.deadline, jobs.lease_until,
                  CASE WHEN next_attempt = 1 THEN coalesce(due_at, created_at) ELSE created_at END AS submitted_at,
                  coalesce(free.arrived, false) AS arrived, free.lease_until AS waited_until
    )
    SELECT taken.*, payloads.body, payloads.raw, payloads.reply_to, payloads.priority, payloads.traceparent,
        payloads.headers
    FROM taken JOIN payloads USING (id) WHERE payloads.id = ANY(ARRAY(SELECT id FROM taken))
    """
)
# Rows are locked in the order of their ids, as the recorder does, so that neither waits for the other in a circle. The
# attempt is looked at since the row may have its next one to publish already when the confirm of the last is written;
# and how often the job came back, since what the broker confirmed may have come back before that is written.
_MARK = text(
    """
    WITH confirmed AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS integer[]), CAST(:attempts AS integer[]),
                             CAST(:returned AS integer[]), CAST(:keys AS bigint[]))
            AS confirmed (id, generation, attempt, returned, key)
    ), locked AS (
        SELECT jobs.id, confirmed.key FROM jobs JOIN confirmed USING (id)
        WHERE jobs.id = ANY(CAST(:ids AS uuid[])) AND jobs.generation = confirmed.generation
              AND jobs.next_attempt = confirmed.attempt AND jobs.returned = confirmed.returned AND jobs.published_at IS NULL
        ORDER BY jobs.id FOR UPDATE OF jobs
    )
    UPDATE jobs SET published_at = now(),
                    state = CASE WHEN merge_key < locked.key THEN 'queued' ELSE state END,
                    merge_key = greatest(merge_key, locked.key)
    FROM locked WHERE jobs.id = locked.id AND jobs.id = ANY(CAST(:ids AS uuid[]))
    RETURNING jobs.id
    """
)
# Of the leases that are still ours, the new ends.
_END = text(
    """
    WITH ours AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:untils AS timestamptz[]),
                             CAST(:seconds AS double precision[])) AS ours (id, until, seconds)
    ), locked AS (
        SELECT jobs.id, ours.until, ours.seconds FROM jobs JOIN ours USING (id)
        WHERE jobs.id = ANY(CAST(:ids AS uuid[])) AND jobs.lease_until = ours.until AND jobs.published_at IS NULL
        ORDER BY jobs.id FOR UPDATE OF jobs
    )
    UPDATE jobs SET lease_until = now() + locked.seconds * interval '1 second'
    FROM locked WHERE jobs.id = locked.id AND jobs.id = ANY(CAST(:ids AS uuid[]))
    RETURNING jobs.id, locked.until, jobs.lease_until
    """
)
# What a transaction counts is what was committed when it looked for the first time.
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
_LOOK = text("SELECT 1")
# The condition on lease_until is for the index: what is due has no lease beyond the longest one.
_PENDING = text(
    """
    SELECT queue, count(*) AS jobs FROM jobs
    WHERE published_at IS NULL AND lease_until <= now() + CAST(:lease AS double precision) * interval '1 second'
          AND coalesce(due_at <= now(), true)
    GROUP BY queue
    """
)
_LIVE = text(
    """
    SELECT name FROM queues
    WHERE name = ANY(CAST(:names AS text[])) AND defined_at IS NOT NULL
          AND (removed_at IS NULL OR removed_at < defined_at)
    """
)


@dataclass(frozen=True, slots=True)
class Publication:
    """Which message of a job: each attempt has one, and another one when the broker had no queue for it."""

    id: UUID
    generation: int
    attempt: int
    returned: int = 0

    def __hash__(self) -> int:
        return hash(self.id)  # a third of the time, and a job has hardly ever two in hand

    @classmethod
    def of(cls, job: Envelope, returned: int) -> "Publication":
        return cls(job.id, job.generation, job.attempt, returned)


@dataclass(frozen=True, slots=True)
class Lease:
    """What a replica wrote on a job's row; it has the row for as long as that is there, and not run out."""

    id: UUID
    until: datetime  # by the database's clock


@dataclass(frozen=True, slots=True)
class Taken:
    """A job to publish; `arrived`: its time came just now, and it was nobody's before."""

    job: Envelope
    lease: Lease
    arrived: bool
    returned: int = 0  # how often it came back, since the broker had no queue for it


class OutboxRows:
    def __init__(self, postgres: Postgres, lease: float = LEASE) -> None:
        self._postgres, self._lease = postgres, lease

    async def take(self, most: int, except_queues: Sequence[str] = (), reach: float | None = None) -> list[Taken]:
        """Lease rows that nobody holds and return their jobs, first those that are due longest, at most `reach` seconds."""
        async with self._postgres.transaction() as connection:
            await connection.execute(_DONT_SORT)
            await left_leases.free(connection, self._lease)
            values = {"most": most, "lease": self._lease, "except_queues": list(except_queues), "reach": reach or EVER}
            found = sorted(await connection.execute(_TAKE, values), key=lambda row: (row.waited_until, row.id))
            if found:
                await left_leases.note(connection, self._lease)
            return [Taken(_envelope(row), Lease(row.id, row.lease_until), row.arrived, row.returned) for row in found]

    async def live(self, queues: Collection[str]) -> set[str]:
        """Return which of these queues a JobQueue has."""
        async with self._postgres.transaction() as connection:
            return await live(connection, queues)

    async def mark(self, confirmed: Sequence[Publication]) -> set[UUID]:
        """Note that the broker has these jobs; return those that were in the outbox until now.

        A job that has moved on keeps its state.
        """
        async with self._postgres.transaction() as connection:
            columns = {
                "ids": [one.id for one in confirmed],
                "generations": [one.generation for one in confirmed],
                "attempts": [one.attempt for one in confirmed],
                "returned": [one.returned for one in confirmed],
                "keys": [queued_key(one.generation, one.attempt) for one in confirmed],
            }
            return {row.id for row in await connection.execute(_MARK, columns)}

    async def release(self, leases: Sequence[Lease], waits: Sequence[float] | None = None) -> None:
        """Give rows back, for any replica to take after so many seconds each, or at once.

        A row whose lease is another one by now keeps that.
        """
        await self._end(leases, waits or [0.0] * len(leases))

    async def renew(self, leases: Sequence[Lease]) -> dict[Lease, Lease]:
        """Hold rows from now for a whole lease; return the new lease of each, without those that were lost."""
        return await self._end(leases, [self._lease] * len(leases))

    async def _end(self, leases: Sequence[Lease], seconds: Sequence[float]) -> dict[Lease, Lease]:
        columns = {"ids": [one.id for one in leases], "untils": [one.until for one in leases], "seconds": list(seconds)}
        async with self._postgres.transaction() as connection:
            ended = await connection.execute(_END, columns)
            return {Lease(row.id, row.until): Lease(row.id, row.lease_until) for row in ended}

    async def pending(self, moment: AbstractAsyncContextManager[object] | None = None) -> dict[str, int]:
        """Count the unconfirmed jobs of each queue that has some; those that aren't due yet don't count.

        Counted is what is there at one moment within that block.
        """
        async with self._postgres.transaction() as connection:
            await connection.execute(_ONE_MOMENT)
            async with moment or contextlib.nullcontext():
                await connection.execute(_LOOK)
            return {row.queue: row.jobs for row in await connection.execute(_PENDING, {"lease": self._lease + 1})}


async def live(connection: AsyncConnection, queues: Collection[str]) -> set[str]:
    return {row.name for row in await connection.execute(_LIVE, {"names": list(queues)})}


def queued_key(generation: int, attempt: int) -> int:
    """Return the place of "the broker has it" among the reports; for a first attempt it is before any of its reports."""
    return merge_key(State.QUEUED, generation, attempt if attempt > 1 else 0)


def _envelope(row: Row[Any]) -> Envelope:
    return Envelope(
        id=row.id,
        queue=row.queue,
        type=row.type,
        body=row.body.encode() if row.raw is None else row.raw,
        attempt=row.next_attempt,
        generation=row.generation,
        submitted_at=row.submitted_at,
        priority=row.priority,
        correlation_id=row.correlation_id,
        reply_to=row.reply_to,
        traceparent=row.traceparent,
        deadline=row.deadline,
        headers=None if row.headers is None else msgspec.json.decode(row.headers),
    )
