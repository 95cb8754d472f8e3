"""Carries out a plan on PostgreSQL, in steps that hold up nobody for longer than a moment.

A partition is removed in one transaction: taken out, what must stay of it stored again (it lands outside the days), and
dropped. Whoever wants one of its rows waits for that, so it is begun only when little must stay, and what must stay is found
by an index that is built beforehand, beside the others' work. Where much must stay, the partition stays, and the rest of it
goes by rows. A step that does not get its locks within two seconds is left for another time. A step that is cut off at any
point, by a kill or a lost connection, has not happened.

It has a connection of its own, so that a lock which is not granted is not taken for a database that is away. The connection
holds an advisory lock, which lets one replica at a time do this, and ends with it.
"""

# ruff: noqa: S608 - the names and times in the statements are our own

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from leveret.settings import Database
from leveret_producer.retention.plan import TABLES, Create, Partition, Retention, ended_before
from leveret_producer.store.postgres import connect

LOCK = 0x6C65766572657404  # "leveret", 4: one number for all replicas
CONNECT_TIMEOUT = 5.0  # s
LOCK_TIMEOUT = "2s"  # so long at most do others wait behind us
INDEX_LOCK_TIMEOUT = "10s"  # nobody waits behind a build, but it waits for who writes meanwhile
# For building an index beside the others' work; what holds locks takes far less.
STATEMENT_TIMEOUT, COMMAND_TIMEOUT = "10min", 660.0
MOST_ROWS, MOST_BYTES = 2_000, 16 << 20  # to move while others wait
STEP = 1_000  # rows that are deleted, or looked at, in one transaction
BREATH = 0.02  # s between two such, for the others

_KEY = {"jobs": "id", "payloads": "id", "attempts": "job_id"}
_LARGE = {"jobs": ("result", "error"), "payloads": ("body", "raw"), "attempts": ("error",)}

# What may not go, however old: jobs that aren't over, and dead letters that nobody has put back or put away.
_OPEN = "(finished_at IS NULL OR (state = 'dead' AND purged_at IS NULL))"
# The same the other way round, as the indexes `…_ended` have it.
_OVER = "(finished_at IS NOT NULL AND (state <> 'dead' OR purged_at IS NOT NULL))"


@dataclass(frozen=True, slots=True)
class Removed:
    partition: Partition
    moved: int  # rows that stay, elsewhere now


@dataclass(frozen=True, slots=True)
class Crowded:
    """So much of a partition must stay that it stays itself."""

    partition: Partition
    rows: int


@dataclass(slots=True)
class Walk:
    """How far a walk through a table's rows has come; None: at its beginning."""

    behind: UUID | None = None
    deleted: int = 0
    looked: int = 0


@dataclass(slots=True)
class Partitions:
    """One replica's turn: what it may do while it holds the advisory lock."""

    connection: asyncpg.Connection
    walks: dict[str, Walk] = field(default_factory=dict)

    async def now(self) -> datetime:
        now: datetime = await self.connection.fetchval("SELECT now()")
        return now

    async def there(self) -> frozenset[Partition]:
        found: set[Partition] = set()
        for table in TABLES:
            rows = await self.connection.fetch(
                "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = $1::regclass",
                f"{table}_by_day",
            )
            for row in rows:
                day = row["relname"].removeprefix(f"{table}_")
                if day.isdecimal():
                    found.add(Partition(datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date(), table))
        return frozenset(found)

    async def create(self, action: Create) -> bool:
        """Make a day's partition; False: too many rows of that day are elsewhere already, and stay there."""
        partition = action.partition
        key, rest = _KEY[partition.table], f"{partition.table}_by_day_rest"
        first, end = partition.bounds
        async with self._step():
            await self._run(f"LOCK TABLE ONLY {partition.table}_by_day IN SHARE UPDATE EXCLUSIVE MODE")
            await self._run(f"LOCK TABLE {rest} IN ACCESS EXCLUSIVE MODE")
            of_that_day = f"FROM {rest} WHERE {key} >= '{first}' AND {key} < '{end}'"
            early = await self.connection.fetchval(
                f"SELECT count(*) FROM (SELECT 1 {of_that_day} LIMIT {MOST_ROWS + 1}) AS few"
            )
            if early > MOST_ROWS:
                return False
            await self._run(f"CREATE TABLE {partition.name} (LIKE {partition.table}_by_day INCLUDING ALL)")
            if early:
                await self._run(
                    f"WITH moved AS (DELETE {of_that_day} RETURNING *) INSERT INTO {partition.name} SELECT * FROM moved"
                )
            await self._run(
                f"ALTER TABLE {partition.table}_by_day ATTACH PARTITION {partition.name} "
                f"FOR VALUES FROM ('{first}') TO ('{end}')"
            )
        return True

    async def remove(self, partition: Partition) -> Removed | Crowded:
        table, key = partition.table, _KEY[partition.table]
        await self._find_stays_fast(partition)
        stay = f"SELECT id FROM jobs WHERE {_stays(partition)}"
        size = "+".join(f"coalesce(pg_column_size({column}), 0)" for column in _LARGE[table])
        held = await self.connection.fetchrow(
            f"SELECT count(*) AS rows, coalesce(sum(size), 0) AS bytes FROM (SELECT {size} AS size FROM {partition.name} "
            f"WHERE {key} IN ({stay}) LIMIT {MOST_ROWS + 1}) AS few"
        )
        assert held is not None
        if held["rows"] > MOST_ROWS or held["bytes"] > MOST_BYTES:
            return Crowded(partition, held["rows"])
        async with self._step():
            await self._run("SET LOCAL enable_seqscan = off")
            await self._run(f"ALTER TABLE {table}_by_day DETACH PARTITION {partition.name}")
            if table == "jobs":
                stay = f"SELECT id FROM {partition.name} WHERE {_stays(partition)}"
            moved = await self._run(f"INSERT INTO {table} SELECT * FROM {partition.name} WHERE {key} IN ({stay})")
            await self._run(f"DROP TABLE {partition.name}")
        return Removed(partition, moved)

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
        decisions = await self._run("DELETE FROM decisions WHERE at < $1", now - retention.decisions)
        await self._run("DELETE FROM dead_letter_operations WHERE swept_at < $1", now - retention.jobs)
        return decisions

    async def _walk_step(self, name: str, table: str, over_before: datetime, walk: Walk) -> int:
        key = _KEY[table]
        page = await self.connection.fetch(
            f"SELECT DISTINCT {key} AS id FROM {name} WHERE $1::uuid IS NULL OR {key} > $1 ORDER BY 1 LIMIT {STEP}",
            walk.behind,
        )
        if not page:
            return 0
        ids = [row["id"] for row in page]
        walk.behind = ids[-1]
        over = f"SELECT id FROM jobs WHERE id = ANY($2::uuid[]) AND {_OVER} AND finished_at < $1"
        if table == "jobs":
            walk.deleted += await self._delete_jobs(f"{over} FOR UPDATE SKIP LOCKED", over_before, ids)
        else:
            walk.deleted += await self._run(
                f"DELETE FROM {name} WHERE {key} = ANY($2::uuid[]) AND ({key} IN ({over}) "
                f"OR NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = {name}.{key}))",
                over_before,
                ids,
            )
        return len(page)

    async def _delete_jobs(self, over: str, *values: object) -> int:
        """Delete the jobs that a query finds, and what they have; return how many."""
        async with self._step():
            ids = [row["id"] for row in await self.connection.fetch(over, *values)]
            for table in TABLES if ids else ():
                await self._run(f"DELETE FROM {table} WHERE {_KEY[table]} = ANY($1::uuid[])", ids)
        return len(ids)

    async def _find_stays_fast(self, partition: Partition) -> None:
        """Build the index by which the jobs of a day that must stay are found, if the day has a partition of jobs."""
        jobs = Partition(partition.day, "jobs")
        name = f"{jobs.name}_stays"
        valid = await self.connection.fetchval(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
        )
        if valid is None and await self.connection.fetchval("SELECT to_regclass($1) IS NULL", jobs.name):
            return
        if valid is False:  # someone was killed over it
            await self._run(f"DROP INDEX CONCURRENTLY {name}")
        if not valid:
            await self._run(f"CREATE INDEX CONCURRENTLY {name} ON {jobs.name} (id) WHERE {_stays_index(partition)}")

    @asynccontextmanager
    async def _step(self) -> AsyncIterator[None]:
        async with self.connection.transaction():
            await self._run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield

    async def _run(self, statement: str, *values: object) -> int:
        """Return how many rows a statement wrote; 0 for one that writes none."""
        said = await self.connection.execute(statement, *values)
        number = said.rpartition(" ")[2]
        return int(number) if number.isdecimal() else 0


def _stays_index(partition: Partition) -> str:
    return f"{_OPEN} OR finished_at >= '{ended_before(partition.day).isoformat()}'"


def _stays(partition: Partition) -> str:
    """Which jobs of the day must stay: those that aren't over, and those that ended late and have their time yet."""
    first, end = partition.bounds
    return f"({_stays_index(partition)}) AND id >= '{first}' AND id < '{end}'"


@asynccontextmanager
async def alone(read: Callable[[], Database], name: str, walks: dict[str, Walk]) -> AsyncIterator[Partitions | None]:
    """Connect and be the one replica that does this; None: another one is at it."""
    settings = {"statement_timeout": STATEMENT_TIMEOUT, "lock_timeout": INDEX_LOCK_TIMEOUT}
    connection = await connect(read(), name, settings, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT)
    try:
        mine = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
        yield Partitions(connection, walks) if mine else None
    finally:
        await _close(connection)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
