"""What is told of statements that take long: who gave them up, and whether the database is there."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from containers import Server
from producers import database_url
from sqlalchemy import text

from leveret.settings import Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import RESTED, DatabaseUnavailable, DataRefused, Postgres, TookTooLong, TryAgain

SHORT = 0.5  # s


@pytest.fixture
async def hasty(database: Database) -> AsyncIterator[Postgres]:
    """Of which each statement may take half a second."""
    one = Postgres(lambda: database, connections=2, name="test", statement_timeout=SHORT)
    yield one
    await one.close()


async def _run(postgres: Postgres, statement: str, timeout: float = 5.0, *, alone: bool = False, **values: Any) -> None:
    async with (postgres.statement if alone else postgres.transaction)(timeout) as connection:
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


SECRET = "card 4111 1111"


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("INSERT INTO kept VALUES (NULL, :body)", id="a row that is refused"),
        pytest.param("INSERT INTO kept VALUES (1, :body)", id="a check that fails"),
        pytest.param("SELECT CAST(CAST(:body AS text) AS json)", id="no JSON"),
        pytest.param("SELECT CAST(:body AS integer)", id="what the driver can't encode"),
        pytest.param("SELECT kept(CAST(:body AS text))", id="a defect of ours"),
        pytest.param("SELECT :body FROM nowhere", id="no such table"),
        pytest.param("SELECT CAST(:body AS text), pg_sleep(2)", id="given up"),
    ],
)
async def test_no_value_of_a_statement_is_in_what_is_raised(hasty: Postgres, statement: str) -> None:
    await _run(hasty, "CREATE TABLE kept (id integer NOT NULL CHECK (id > 1), body text)")
    with pytest.raises(Exception) as raised:  # noqa: PT011 - whichever it is
        await _run(hasty, statement, body=SECRET)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


async def test_two_that_stand_in_each_others_way_tell_no_value(database: Database) -> None:
    one = Postgres(lambda: database, connections=3, name="test")
    await _run(one, "CREATE TABLE kept (id integer PRIMARY KEY, body text)")
    await _run(one, "INSERT INTO kept VALUES (1, ''), (2, '')")
    both = asyncio.Barrier(2)

    async def change(*ids: int) -> None:
        async with one.transaction() as connection:
            for one_id in ids:
                await connection.execute(
                    text("UPDATE kept SET body = :body WHERE id = :id"), {"id": one_id, "body": SECRET}
                )
                if one_id == ids[0]:
                    await both.wait()

    ended = await asyncio.gather(change(1, 2), change(2, 1), return_exceptions=True)
    [lost] = [end for end in ended if end is not None]
    assert isinstance(lost, TryAgain)
    assert SECRET not in "".join(traceback.format_exception(lost))
    await one.close()


async def _run_each(postgres: Postgres, *statements: str) -> None:
    async with postgres.transaction() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


@pytest.mark.parametrize("alone", [True, False], ids=["a statement alone", "a transaction"])
async def test_connections_that_were_closed_while_they_rested_are_replaced(
    hasty: Postgres, database: Database, alone: bool
) -> None:
    """Nobody is refused for it, however short the rest was."""
    connection = await asyncpg.connect(database_url(database))
    try:
        for _ in range(5):
            await asyncio.gather(*(_run(hasty, "SELECT pg_sleep(0.05)", alone=alone) for _ in range(2)))
            ended = (
                "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE application_name = 'test'"
            )
            assert await connection.fetchval(ended) == 2
            await asyncio.sleep(0.05)  # until the end is here, too
            await asyncio.gather(*(_run(hasty, "SELECT 1", alone=alone) for _ in range(4)))
    finally:
        await connection.close()


async def test_a_database_that_hangs_has_stored_nothing_of_what_came_after_a_rest(
    hasty: Postgres, postgres: Server
) -> None:
    await _run(hasty, "SELECT 1")
    await asyncio.sleep(1.1 * RESTED)
    await asyncio.to_thread(postgres.pause)
    try:
        with pytest.raises(DatabaseUnavailable) as hangs:
            await _run(hasty, "SELECT 1", 20.0, alone=True)
    finally:
        await asyncio.to_thread(postgres.unpause)
    assert not hangs.value.maybe_stored
    await _run(hasty, "SELECT 1", alone=True)


@pytest.mark.parametrize(
    ("statement", "maybe_stored"),
    [
        pytest.param("SELECT pg_terminate_backend(pg_backend_pid())", True, id="the server ends it"),
        pytest.param("SELECT pg_sleep(2)", True, id="our patience ends"),
        pytest.param("SELECT * FROM not_there", False, id="the server refuses it"),
    ],
)
async def test_a_statement_that_commits_itself_may_be_stored_unless_the_server_refuses_it(
    hasty: Postgres, statement: str, maybe_stored: bool
) -> None:
    for alone in (True, False):  # a transaction's COMMIT was not sent yet
        with pytest.raises(DatabaseUnavailable) as unavailable:
            await _run(hasty, statement, SHORT / 2, alone=alone)
        assert unavailable.value.maybe_stored is (maybe_stored and alone)


async def test_a_connection_that_committed_by_itself_does_so_no_more_in_a_transaction(database: Database) -> None:
    one = Postgres(lambda: database, connections=1, name="test")
    try:
        await _run(one, "CREATE TABLE kept (n integer)", alone=True)
        with pytest.raises(DataRefused):
            await _run_each(one, "INSERT INTO kept VALUES (1)", "SELECT 1 / 0")
        await _run(one, "INSERT INTO kept VALUES (2)", alone=True)
        async with one.transaction() as connection:
            assert (await connection.execute(text("SELECT array_agg(n) FROM kept"))).scalar_one() == [2]
    finally:
        await one.close()
