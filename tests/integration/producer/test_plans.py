"""On a PostgreSQL with its own defaults no statement reads more than its rows' days, whatever else the tables hold."""

import asyncpg
import pytest
from producers import database_url

from leveret.settings import Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres
from tests.support.hot_statements import CALLS, hot
from tests.support.month import PARTITIONS, Explained, make_month

JOBS, BATCH = 40_000, 100
CUSTOM = 5  # executions on a connection that have plans of their own; then one for all values is tried
MOST_READ = 6_000  # rows: today's, of which there are 1,300 at first and some more with each call; a month has 40,000
COMPILES_FROM = 100_000  # cost, by PostgreSQL's defaults


@pytest.fixture
async def month(database: Database) -> Database:
    store = Postgres(lambda: database, connections=1, name="test")
    await migrate(store)
    await store.close()
    connection = await asyncpg.connect(database_url(database))
    try:
        await make_month(connection, JOBS)
        leaves = "SELECT count(*) FROM pg_partition_tree('jobs') WHERE isleaf"
        assert await connection.fetchval(leaves) == PARTITIONS == 41
        assert await connection.fetchval("SELECT current_setting('random_page_cost')") == "4"
    finally:
        await connection.close()
    return database


async def test_no_hot_statement_reads_the_whole_table(month: Database) -> None:
    async with hot(month) as store:
        for number in range(CUSTOM + 2):
            found = await store.each_call(BATCH)
            assert set(found) == set(CALLS)
            for call, explained in found.items():
                assert explained, call
                for one in explained:
                    assert one.rows <= MOST_READ, (number, call, one.rows, one.statement)
                    assert one.plan["Plan"]["Total Cost"] < COMPILES_FROM or _of_the_driver(one), (number, call)
                    assert not one.compiled, (number, call)
        [take] = [one for one in await store.take_of_many(10_000, BATCH) if "lease_until <= now()" in one.statement]
        assert "Sort" not in {node["Node Type"] for node in take.nodes}  # else it reads all that waits


def _of_the_driver(one: Explained) -> bool:
    """It asks once for the types that a statement has."""
    return "typeinfo_tree" in one.statement
