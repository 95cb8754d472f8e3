"""A month of jobs in the tables, a partition a day, and what PostgreSQL does for each statement upon them.

The plans are told by the server itself (auto_explain) for the statements that the store really sends, so they are those
of custom plans in the first executions on a connection and of generic ones later, as in life.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from leveret.settings import Database
from leveret_producer.retention.partitions import Partitions
from leveret_producer.retention.plan import DAY, TABLES, Create, Partition, first_id, midnight
from leveret_producer.retention.session import Session
from leveret_producer.store.postgres import Postgres

DAYS, AHEAD, QUEUES = 31, 7, 1_000
PARTITIONS = DAYS + 1 + AHEAD + 2  # today's, and the two for what is of no such day
_LAST_DAY = datetime(2100, 1, 1, tzinfo=UTC)
# An id begins with its time. Every hundredth died, and all were published.
_FILL = """
    INSERT INTO jobs (id, queue, type, state, merge_key, created_at, published_at, finished_at, attempt, max_attempts,
        dead_reason, result)
    SELECT CAST(lpad(to_hex(CAST(extract(epoch FROM at) * 1000 AS bigint)), 12, '0') || '7'
                || substr(md5(CAST(number AS text)), 1, 3) || '8' || substr(md5(CAST(number AS text)), 4, 15) AS uuid),
           'team-' || number % 20 || '.queue-' || number % $3, 'type-' || number % 7,
           CASE WHEN number % 100 = 0 THEN 'dead' ELSE 'succeeded' END, 1::bigint << 33, at, at, at, 1, 5,
           CASE WHEN number % 100 = 0 THEN 'AttemptsExhausted' END, '{"status":200,"latency":0.123}'
    FROM (
        SELECT number, $1::timestamptz - interval '1 minute' - number * $2::interval AS at
        FROM generate_series(1, $4::bigint) AS number
    ) AS new
"""
_PAYLOADS = """INSERT INTO payloads (id, body) SELECT id, '{"url":"https://example.org/some/page"}' FROM jobs"""
_ATTEMPTS = """
    INSERT INTO attempts (job_id, generation, attempt, delivery, merge_key, consumer, started_at, finished_at, outcome)
    SELECT id, 1, 1, 1, 1, 'consumer-a', created_at, finished_at, 'succeeded' FROM jobs
"""
_DEFINED = """
    INSERT INTO queues (name, namespace, jobqueue, version, max_attempts, timeout_seconds, defined_at)
    SELECT 'team-' || number % 20 || '.queue-' || number, 'team-' || number % 20, 'queue-' || number, 'v1', 5, 30, now()
    FROM generate_series(0, $1::integer - 1) AS number
"""


async def make_month(connection: asyncpg.Connection, jobs: int, queues: int = QUEUES) -> None:
    """Make the partitions of an installation that is a month old, on fresh tables, and fill them evenly."""
    today = datetime.now(UTC).date()
    partitions = Partitions(Session(connection))
    for table in reversed(TABLES):
        first, last = first_id(midnight(today) - DAYS * DAY), first_id(_LAST_DAY)
        await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {table}_by_day")
        await connection.execute(
            f"ALTER TABLE {table} ATTACH PARTITION {table}_by_day FOR VALUES FROM ('{first}') TO ('{last}')"
        )
    there = await partitions.there()
    for days in range(-DAYS, AHEAD + 1):
        for table in reversed(TABLES):
            if (one := Partition(today + days * DAY, table)) not in there:
                await partitions.create(Create(one, "a month has it"))
    await connection.execute(_FILL, datetime.now(UTC), timedelta(days=DAYS - 1) / jobs, queues, jobs, timeout=600)
    for statement in (_PAYLOADS, _ATTEMPTS):
        await connection.execute(statement, timeout=600)
    await connection.execute(_DEFINED, queues)
    await connection.execute("ANALYZE", timeout=600)


@dataclass(frozen=True, slots=True)
class Explained:
    """One execution of a statement: what it was, and the nodes of its plan as they were carried out."""

    statement: str
    plan: dict[str, Any]

    @property
    def nodes(self) -> list[dict[str, Any]]:
        nodes = [self.plan["Plan"]]
        for node in nodes:
            nodes += node.get("Plans", [])
        return nodes

    @property
    def rows(self) -> int:
        """How many rows of tables were read, those that were left out again included."""
        return sum(_read(node) for node in self.nodes if "Relation Name" in node or "Index Name" in node)

    @property
    def blocks(self) -> int:
        """How many blocks were looked at."""
        top = self.plan["Plan"]
        return int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])

    @property
    def compiled(self) -> bool:
        return "JIT" in self.plan


def _read(node: dict[str, Any]) -> int:
    left_out = sum(node.get(f"Rows Removed by {by}", 0) for by in ("Filter", "Index Recheck"))
    rows: int = round((node["Actual Rows"] + left_out) * node["Actual Loops"])
    return rows


@dataclass(slots=True)
class Plans:
    """Collects what the server explains."""

    seen: list[Explained] = field(default_factory=list)

    def heard(self, _: object, message: asyncpg.PostgresLogMessage) -> None:
        _, found, plan = str(message.message).partition(" plan:\n")
        if found:
            told = json.loads(plan)
            self.seen.append(Explained(told["Query Text"], told))

    @contextmanager
    def of(self) -> Iterator[list[Explained]]:
        """Return a list that has, after the block, what was explained within."""
        found: list[Explained] = []
        before = len(self.seen)
        yield found
        found += self.seen[before:]


class ExplainedPostgres(Postgres):
    """A store's database whose statements are explained, where its user is the server's administrator."""

    def __init__(self, database: Database, plans: Plans) -> None:
        super().__init__(lambda: database, connections=2, name="explained")
        self._plans = plans

    async def _open(self, statement_timeout: float) -> asyncpg.Connection:
        connection = await super()._open(statement_timeout)
        await connection.execute(
            """
            LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_analyze = on;
            SET auto_explain.log_timing = off; SET auto_explain.log_buffers = on; SET auto_explain.log_format = json;
            SET auto_explain.log_level = notice
            """
        )
        connection.add_log_listener(self._plans.heard)
        return connection
