"""A database that somebody else owns: what is missing is told in one sentence, with the statement that mends it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
from containers import Server
from producers import Producer, database_url, eventually, eventually_true, producing, ready

from leveret.settings import Broker, Database
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import DatabaseUnavailable, Postgres
from leveret_producer.store.rights import TABLES, RightMissing

ROLE = "app of 1"  # as SQL needs it: quoted
QUOTED = '"app of 1"'


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """The administrator, who makes a role for Leveret that has no right yet but to come in."""
    connection = await asyncpg.connect(database_url(database))
    await connection.execute(f"CREATE ROLE {QUOTED} LOGIN PASSWORD 'x'")
    yield connection
    await connection.execute(f"DROP OWNED BY {QUOTED} CASCADE; DROP ROLE {QUOTED}")
    await connection.close()


@pytest.fixture
def guest(database: Database) -> Database:
    return replace(database, username=ROLE, password="x")


async def _migrated(place: Database) -> list[str]:
    store = Postgres(lambda: place, connections=1, name="test work")
    try:
        return await migrate(store)
    finally:
        await store.close()


async def test_rights_are_asked_for_on_all_tables(database: Database) -> None:
    await _migrated(database)
    connection = await asyncpg.connect(database_url(database))
    made = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = 'public'::regnamespace"
    )
    await connection.close()
    assert {row["relname"] for row in made} == set(TABLES)


MADE_BY_ROLE = f"GRANT USAGE, CREATE ON SCHEMA public TO {QUOTED}"
LACKING = [
    pytest.param(None, "SELECT 1", "GRANT USAGE, CREATE ON SCHEMA public TO", id="no right to create"),
    pytest.param(
        None, "REVOKE USAGE ON SCHEMA public FROM public", "GRANT USAGE, CREATE ON SCHEMA public TO", id="no usage"
    ),
    pytest.param(
        None,
        f"{MADE_BY_ROLE}; ALTER ROLE {QUOTED} SET default_transaction_read_only = on",
        "SET default_transaction_read_only = off",
        id="read-only",
    ),
    pytest.param(None, f"ALTER ROLE {QUOTED} SET search_path = nowhere", "SET search_path", id="no such schema"),
    pytest.param(
        "admin",
        "SELECT 1",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON alembic_version, jobs",
        id="no right to the tables",
    ),
    pytest.param(
        "role", f"REVOKE DELETE ON payloads FROM {QUOTED}", f"GRANT DELETE ON payloads TO {QUOTED}", id="not one right"
    ),
    pytest.param(
        "role",
        f"CREATE SCHEMA other; GRANT USAGE, CREATE ON SCHEMA other TO {QUOTED}; ALTER ROLE {QUOTED} SET search_path = other",
        "SET search_path = public",
        id="the tables are in another schema",
    ),
]


@pytest.mark.parametrize(("tables_of", "done", "grant"), LACKING)
async def test_what_is_missing_is_told_with_what_gives_it(
    admin: asyncpg.Connection, database: Database, guest: Database, tables_of: str | None, done: str, grant: str
) -> None:
    if tables_of == "role":
        await admin.execute(MADE_BY_ROLE)
        assert await _migrated(guest) == []
    elif tables_of == "admin":
        await _migrated(database)
    await admin.execute(done)
    with pytest.raises(RightMissing) as refused:
        await _migrated(guest)
    assert grant in str(refused.value)
    assert QUOTED in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_what_the_sentence_names_mends_it(admin: asyncpg.Connection, database: Database, guest: Database) -> None:
    """One sentence after the other, until nothing is left to be done; rows come last, and partitions of others are a warning."""
    await _migrated(database)
    said: list[str] = []
    for _ in range(3):
        try:
            warned = await _migrated(guest)
        except RightMissing as problem:
            said.append(str(problem))
            await admin.execute(str(problem).partition(": ")[2])
        else:
            break
    assert [one.partition("GRANT ")[2].split(" ON ")[0] for one in said] == ["SELECT, INSERT, UPDATE, DELETE"]
    assert "may not create tables" in warned[0]
    await admin.execute(warned[0].partition(": ")[2].partition(";")[0])
    [warned] = [await _migrated(guest)]
    assert "does not own" in warned[0]
    assert "lacks SELECT, INSERT, UPDATE, DELETE on" in warned[1]
    for one in warned:
        await admin.execute(one.partition(": ")[2].partition(";")[0])
    assert await _migrated(guest) == []


@pytest.mark.parametrize(
    ("made", "told"),
    [
        pytest.param("ENCODING 'LATIN1' LOCALE 'C'", "has the encoding LATIN1", id="another encoding"),
        pytest.param("LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C'", None, id="a collation of ICU"),
        pytest.param("LOCALE 'C'", None, id="no collation"),
    ],
)
async def test_a_database_that_was_made_otherwise(
    postgres: Server, database: Database, broker: Broker, made: str, told: str | None
) -> None:
    admin = await asyncpg.connect(database_url(database))
    other = replace(database, dbname=f"{database.dbname}_other")
    try:
        await admin.execute(f"CREATE DATABASE {other.dbname} {made} TEMPLATE template0")
        if told:
            with pytest.raises(RightMissing, match=told):
                await _migrated(other)
        else:
            async with producing(broker, other) as producer:
                await _serves(producer)
                assert (await producer.http.get("/v1/jobs")).json()["jobs"] == []
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {other.dbname} WITH (FORCE)")
        await admin.close()


async def test_a_replica_of_the_producer_says_it_and_goes_on_once_it_is_granted(
    admin: asyncpg.Connection, guest: Database, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    async with producing(broker, guest) as producer:
        await eventually(lambda: producer.health.right_missing is not None, "it looked")
        answer = await producer.http.get("/readyz")
        assert answer.status_code == 503
        assert MADE_BY_ROLE in answer.json()["says"]
        await admin.execute(MADE_BY_ROLE)
        await _serves(producer)
    assert "Traceback" not in "".join(capsys.readouterr())


async def test_a_replica_that_nobody_grants_anything_ends_with_the_sentence(
    admin: asyncpg.Connection, guest: Database, broker: Broker
) -> None:
    async with producing(broker, guest, without_rights=0) as producer:
        await eventually(lambda: producer.health.gave_up, "it gave up")

        async def closed() -> bool:
            try:
                _, writer = await asyncio.open_connection(producer.http.base_url.host, producer.http.base_url.port)
            except OSError:
                return True
            writer.close()
            return False

        await eventually_true(closed, "its server ended")
        assert MADE_BY_ROLE in (producer.health.right_missing or "")


NOT_LET_IN = [
    pytest.param(
        "REVOKE CONNECT ON DATABASE {database} FROM public", {}, "GRANT CONNECT ON DATABASE", id="no right to connect"
    ),
    pytest.param("SELECT 1", {"dbname": "no such"}, 'CREATE DATABASE "no such" OWNER', id="no such database"),
    pytest.param("SELECT 1", {"password": "y"}, "password of", id="another password"),
]


@pytest.mark.parametrize(("done", "changed", "says"), NOT_LET_IN)
async def test_who_is_not_let_in_is_told_how(
    admin: asyncpg.Connection, guest: Database, done: str, changed: dict[str, str], says: str
) -> None:
    await admin.execute(done.format(database=guest.dbname))
    with pytest.raises(DatabaseUnavailable) as refused:
        await _migrated(replace(guest, **changed))
    assert says in str(refused.value)


async def test_a_limit_of_connections_is_told(admin: asyncpg.Connection, guest: Database) -> None:
    await admin.execute(f"{MADE_BY_ROLE}; ALTER ROLE {QUOTED} CONNECTION LIMIT 15")
    [warned] = await _migrated(guest)
    assert f"ALTER ROLE {QUOTED} CONNECTION LIMIT 16" in warned
    await admin.execute(f"ALTER ROLE {QUOTED} CONNECTION LIMIT 16")
    assert await _migrated(guest) == []
    other = await asyncpg.connect(database_url(guest), server_settings={"application_name": "producer-b requests"})
    [warned] = await _migrated(guest)
    assert warned.startswith("2 producers may open 32 connections (16 each)")
    await other.close()


async def _serves(producer: Producer) -> None:
    async def says_so() -> bool:  # the broker is looked for once the tables are there
        return bool((await producer.says())["says"] == "serving")

    await ready(producer)
    await eventually_true(says_so, "it serves")
