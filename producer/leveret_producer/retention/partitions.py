"""Carries out a plan on PostgreSQL, in steps that hold up nobody for longer than a moment.

A partition is removed in one transaction: taken out, what must stay of it stored again (it lands outside the days), and
dropped. Whoever wants one of its rows waits for that, so it is begun only when little must stay, and what must stay is found
by an index that is built beforehand, beside the others' work. Where much must stay, the partition stays, and the rest of it
goes by rows. A step that does not get its locks within two seconds is left for another time. A step that is cut off at any
point, by a kill or a lost connection, has not happened.
"""

# ruff: noqa: S608 - the names and times in the statements are our own

from dataclasses import dataclass
from datetime import UTC, datetime

from leveret_producer.retention.plan import TABLES, Create, Partition, ended_before
from leveret_producer.retention.session import KEYS, Session

MOST_ROWS, MOST_BYTES = 2_000, 16 << 20  # to move while others wait

_LARGE = {"jobs": ("result", "error"), "payloads": ("body", "raw"), "attempts": ("error",)}
# What may not go, however old: jobs that aren't over, and dead letters that nobody has put back or put away.
_OPEN = "(finished_at IS NULL OR (state = 'dead' AND purged_at IS NULL))"


@dataclass(frozen=True, slots=True)
class Removed:
    partition: Partition
    moved: int  # rows that stay, elsewhere now


@dataclass(frozen=True, slots=True)
class Crowded:
    """So much of a partition must stay that it stays itself."""

    partition: Partition
    rows: int


@dataclass(frozen=True, slots=True)
class Partitions:
    session: Session

    async def there(self) -> frozenset[Partition]:
        found: set[Partition] = set()
        for table in TABLES:
            rows = await self.session.connection.fetch(
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
        key, rest = KEYS[partition.table], f"{partition.table}_by_day_rest"
        first, end = partition.bounds
        async with self.session.step():
            await self.session.run(f"LOCK TABLE ONLY {partition.table}_by_day IN SHARE UPDATE EXCLUSIVE MODE")
            await self.session.run(f"LOCK TABLE {rest} IN ACCESS EXCLUSIVE MODE")
            of_that_day = f"FROM {rest} WHERE {key} >= '{first}' AND {key} < '{end}'"
            early = await self.session.connection.fetchval(
                f"SELECT count(*) FROM (SELECT 1 {of_that_day} LIMIT {MOST_ROWS + 1}) AS few"
            )
            if early > MOST_ROWS:
                return False
            await self.session.run(f"CREATE TABLE {partition.name} (LIKE {partition.table}_by_day INCLUDING ALL)")
            if early:
                await self.session.run(
                    f"WITH moved AS (DELETE {of_that_day} RETURNING *) INSERT INTO {partition.name} SELECT * FROM moved"
                )
            await self.session.run(
                f"ALTER TABLE {partition.table}_by_day ATTACH PARTITION {partition.name} "
                f"FOR VALUES FROM ('{first}') TO ('{end}')"
            )
        return True

    async def remove(self, partition: Partition) -> Removed | Crowded:
        table, key = partition.table, KEYS[partition.table]
        await self._find_stays_fast(partition)
        stay = f"SELECT id FROM jobs WHERE {_stays(partition)}"
        size = "+".join(f"coalesce(pg_column_size({column}), 0)" for column in _LARGE[table])
        held = await self.session.connection.fetchrow(
            f"SELECT count(*) AS rows, coalesce(sum(size), 0) AS bytes FROM (SELECT {size} AS size FROM {partition.name} "
            f"WHERE {key} IN ({stay}) LIMIT {MOST_ROWS + 1}) AS few"
        )
        assert held is not None
        if held["rows"] > MOST_ROWS or held["bytes"] > MOST_BYTES:
            return Crowded(partition, held["rows"])
        async with self.session.step():
            await self.session.run("SET LOCAL enable_seqscan = off")
            await self.session.run(f"ALTER TABLE {table}_by_day DETACH PARTITION {partition.name}")
            if table == "jobs":
                stay = f"SELECT id FROM {partition.name} WHERE {_stays(partition)}"
            moved = await self.session.run(
                f"INSERT INTO {table} SELECT * FROM {partition.name} WHERE {key} IN ({stay})"
            )
            await self.session.run(f"DROP TABLE {partition.name}")
        return Removed(partition, moved)

    async def _find_stays_fast(self, partition: Partition) -> None:
        """Build the index by which the jobs of a day that must stay are found, if the day has a partition of jobs."""
        jobs = Partition(partition.day, "jobs")
        name = f"{jobs.name}_stays"
        valid = await self.session.connection.fetchval(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
        )
        if valid is None and await self.session.connection.fetchval("SELECT to_regclass($1) IS NULL", jobs.name):
            return
        if valid is False:  # someone was killed over it
            await self.session.run(f"DROP INDEX CONCURRENTLY {name}")
        if not valid:
            await self.session.run(
                f"CREATE INDEX CONCURRENTLY {name} ON {jobs.name} (id) WHERE {_stays_index(partition)}"
            )


def _stays_index(partition: Partition) -> str:
    return f"{_OPEN} OR finished_at >= '{ended_before(partition.day).isoformat()}'"


def _stays(partition: Partition) -> str:
    """Which jobs of the day must stay: those that aren't over, and those that ended late and have their time yet."""
    first, end = partition.bounds
    return f"({_stays_index(partition)}) AND id >= '{first}' AND id < '{end}'"
