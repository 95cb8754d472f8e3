"""What is told of statements that take long: who gave them up, and whether the database is there."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from producers import database_url
from sqlalchemy import text

from leveret.settings import Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import DatabaseUnavailable, DataRefused, Postgres, TookTooLong

SHORT = 0.5  # s


@pytest.fixture
async def hasty(database: Database) -> AsyncIterator[Postgres]:
    """Of which each statement may take half a second."""
    one = Postgres(lambda: database, connections=2, name="test", statement_timeout=SHORT)
    yield one
    await one.close()


async def _run(postgres: Postgres, statement: str, timeout: float = 5.0, **values: Any) -> None:
    async with postgres.transaction(timeout) as connection:
        await connection.execute(text(statement), values)


async def test_a_statement_that_is_given_up_is_not_a_database_that_is_away(hasty: Postgres) -> None:
    with pytest.raises(TookTooLong):
        await _run(hasty, "SELECT pg_sleep(2)")
    assert hasty.trouble is None
    with pytest.raises(DatabaseUnavailable) as hangs:
        await _run(hasty, "SELECT pg_sleep(2)", timeout=SHORT / 2)  # our patience ends first: no word from the server
    assert not isinstance(hangs.value, TookTooLong)
    assert hasty.trouble is not None
    await _run(hasty, "SELECT 1")
    assert hasty.trouble is None


async def test_a_migration_takes_the_time_that_its_statements_need(hasty: Postgres, database: Database) -> None:
    """A trigger holds up the making of each table: together for longer than a statement of others may take."""
    connection = await asyncpg.connect(database_url(database))
    try:
        await connection.execute(
            """
            CREATE FUNCTION hold_up() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.6); END';
            CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION hold_up();
            """
        )
        await migrate(hasty)
        assert await connection.fetchval("SELECT count(*) FROM jobs") == 0
        await connection.execute("DROP EVENT TRIGGER slow")
    finally:
        await connection.close()


async def test_a_value_that_the_database_does_not_take_is_told_apart(hasty: Postgres) -> None:
    with pytest.raises(DataRefused):
        await _run(hasty, "SELECT CAST(CAST(:value AS text) AS integer)", value="x")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        pytest.param("SELECT * FROM not_there", DatabaseUnavailable, id="no such table"),
        pytest.param("SELECT not_there FROM pg_class", DatabaseUnavailable, id="no such column"),
        pytest.param("SELECT * FROM odd.not_there", DatabaseUnavailable, id="no such schema"),
        pytest.param("SET ROLE pg_monitor; SELECT * FROM pg_authid", DatabaseUnavailable, id="no right to it"),
        pytest.param(
            "INSERT INTO short VALUES (array_to_string(array(SELECT md5(n::text) FROM generate_series(1, 999) n), ''))",
            DataRefused,
            id="too long for an index",
        ),
    ],
)
async def test_what_no_event_can_help_is_the_databases_doing(
    hasty: Postgres, statement: str, problem: type[Exception]
) -> None:
    """Else each event would be set aside for it."""
    await _run(hasty, "CREATE TABLE short (name text PRIMARY KEY)")
    with pytest.raises(problem):
        await _run_each(hasty, *statement.split("; "))


async def _run_each(postgres: Postgres, *statements: str) -> None:
    async with postgres.transaction() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
