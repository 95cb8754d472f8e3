"""Deletes by rows what no partition takes along: ids that tell no time, what outlived its day, what belongs to nobody.

A large table is walked through in the order of its keys, some of it in each turn, in transactions so small that nobody
waits for one.
"""

# ruff: noqa: S608 - the names in the statements are our own

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from leveret_producer.retention.plan import TABLES, Retention
from leveret_producer.retention.session import KEYS, Session

STEP = 1_000  # rows that are deleted, or looked at, in one transaction
BREATH = 0.02  # s between two such, for the others

# The opposite of what stays however old (`partitions`), as the indexes `…_ended` have it.
_OVER = "(finished_at IS NOT NULL AND (state <> 'dead' OR purged_at IS NOT NULL))"


@dataclass(slots=True)
class Walk:
    """How far a walk through a table's rows has come; None: at its beginning."""

    behind: UUID | None = None
    deleted: int = 0
    looked: int = 0


@dataclass(frozen=True, slots=True)
class Rows:
    session: Session
    walks: dict[str, Walk] = field(default_factory=dict)  # of the turns before

    async def clear_ended(self, retention: Retention, now: datetime) -> int:
        """Delete, with all they have, jobs outside the days that were over long enough; return how many."""
        deleted = 0
        for rest in ("jobs_default", "jobs_by_day_rest"):
            while gone := await self._delete_jobs(
                f"SELECT id FROM {rest} WHERE {_OVER} AND finished_at < $1 ORDER BY finished_at LIMIT {STEP} "
                "FOR UPDATE SKIP LOCKED",
                now - retention.jobs,
            ):
                deleted += gone
                await asyncio.sleep(BREATH)
        return deleted

    async def walk(self, name: str, table: str, over_before: datetime, most: int) -> Walk:
        """Look at the next rows of a table or partition, at most so many; delete those whose job is over, or unknown.

        It goes on where the last walk ended, and begins anew after the last row.
        """
        walk = self.walks.setdefault(name, Walk())
        walk.deleted = walk.looked = 0
        while walk.looked < most:
            looked = await self._walk_step(name, table, over_before, walk)
            walk.looked += looked
            if looked < STEP:
                walk.behind = None
                break
            await asyncio.sleep(BREATH)
        return walk

    async def clear_decisions(self, retention: Retention, now: datetime) -> int:
        """Delete old decisions, and the records of operations on dead letters that old jobs were in."""
        decisions = await self.session.run("DELETE FROM decisions WHERE at < $1", now - retention.decisions)
        await self.session.run("DELETE FROM dead_letter_operations WHERE swept_at < $1", now - retention.jobs)
        return decisions

    async def clear_keys(self, stored_before: datetime) -> int:
        """Delete idempotency keys that were kept long enough; return how many."""
        deleted = 0
        while gone := await self.session.run(
            "DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys "
            f"WHERE stored_at < $1 ORDER BY stored_at LIMIT {STEP}))",
            stored_before,
        ):
            deleted += gone
            await asyncio.sleep(BREATH)
        return deleted

    async def clear_handlers(self, registered_before: datetime) -> int:
        """Delete what was registered for versions that no queue runs any more; return for how many."""
        return await self.session.run(
            "DELETE FROM handlers WHERE registered_at < $1 AND NOT EXISTS (SELECT 1 FROM queues "
            "WHERE queues.name = handlers.queue AND queues.version = handlers.version)",
            registered_before,
        )

    async def _walk_step(self, name: str, table: str, over_before: datetime, walk: Walk) -> int:
        key = KEYS[table]
        behind = "" if walk.behind is None else f"WHERE {key} > $1"  # as one statement it would be read from the start
        page = await self.session.connection.fetch(
            f"SELECT DISTINCT {key} AS id FROM {name} {behind} ORDER BY 1 LIMIT {STEP}", *filter(None, [walk.behind])
        )
        if not page:
            return 0
        ids = [row["id"] for row in page]
        walk.behind = ids[-1]
        over = f"SELECT id FROM jobs WHERE id = ANY($2::uuid[]) AND {_OVER} AND finished_at < $1"
        if table == "jobs":
            walk.deleted += await self._delete_jobs(f"{over} FOR UPDATE SKIP LOCKED", over_before, ids)
        else:
            walk.deleted += await self.session.run(
                f"DELETE FROM {name} WHERE {key} = ANY($2::uuid[]) AND ({key} IN ({over}) "
                f"OR {key} NOT IN (SELECT id FROM jobs WHERE id = ANY($2::uuid[])))",
                over_before,
                ids,
            )
        return len(page)

    async def _delete_jobs(self, over: str, *values: object) -> int:
        """Delete the jobs that a query finds, and what they have; return how many."""
        async with self.session.step():
            ids = [row["id"] for row in await self.session.connection.fetch(over, *values)]
            for table in TABLES if ids else ():
                await self.session.run(f"DELETE FROM {table} WHERE {KEYS[table]} = ANY($1::uuid[])", ids)
        return len(ids)
