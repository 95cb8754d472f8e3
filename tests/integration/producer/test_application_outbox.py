"""An application's outbox on a real PostgreSQL, with each driver: what is committed is submitted, and nothing else."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import asyncpg
import psycopg
import pytest
from containers import Server
from producers import (
    QUEUE,
    TOKEN,
    Producer,
    database_url,
    eventually_true,
    known,
    message_ids,
    operating,
    producing,
    ready,
)
from psycopg.rows import dict_row
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from leveret.client import NewJob, Unsendable, outbox
from leveret.settings import Broker, Database

OTHER = "leveret.other"


@dataclass
class World:
    producer: Producer
    broker: Broker
    database: Database
    dsn: str

    @property
    def url(self) -> str:
        return str(self.producer.http.base_url)

    def rows(self) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            return connection.execute("SELECT id, queue, error, refused FROM leveret_outbox").fetchall()

    async def empty(self) -> None:
        async def is_empty() -> bool:
            return not await asyncio.to_thread(self.rows)

        await eventually_true(is_empty, "the outbox is empty")


@pytest.fixture
async def world(broker: Broker, database: Database) -> AsyncIterator[World]:
    async with producing(broker, database) as producer, operating(broker, QUEUE, OTHER):
        await ready(producer)
        await known(producer)
        await known(producer, OTHER)
        found = World(producer, broker, database, database_url(database))
        with psycopg.connect(found.dsn) as connection:
            outbox.create(connection)
        yield found


def of(dsn: str, driver: str) -> str:
    return dsn.replace("postgresql://", f"postgresql+{driver}://")


@contextmanager
def blocking_session(dsn: str) -> Any:
    engine = create_engine(of(dsn, "psycopg"))
    with Session(engine) as session:
        yield session
    engine.dispose()


@contextmanager
def blocking_connection(dsn: str) -> Any:
    engine = create_engine(of(dsn, "psycopg"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@asynccontextmanager
async def session_on(dsn: str, driver: str) -> AsyncIterator[AsyncSession]:
    engine = create_async_engine(of(dsn, driver))
    async with AsyncSession(engine) as session:
        yield session
    await engine.dispose()


@dataclass
class OfAsyncpg:
    """A connection whose transaction is begun, and ended as a session's."""

    connection: Any
    transaction: Any

    async def commit(self) -> None:
        await self.transaction.commit()

    async def rollback(self) -> None:
        await self.transaction.rollback()


@asynccontextmanager
async def asyncpg_connection(dsn: str, pooled: bool) -> AsyncIterator[OfAsyncpg]:
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
    connection = await (pool.acquire() if pooled else asyncpg.connect(dsn))
    await connection.set_type_codec("json", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    transaction = connection.transaction()
    await transaction.start()
    yield OfAsyncpg(connection, transaction)
    await connection.close()
    pool.terminate()


BLOCKING = {
    "a session": blocking_session,
    "a connection of SQLAlchemy": blocking_connection,
    "psycopg": psycopg.connect,
    "psycopg with dictionaries": lambda dsn: psycopg.connect(dsn, row_factory=dict_row),
}
IN_LOOP: dict[str, Callable[[str], AbstractAsyncContextManager[Any]]] = {
    "an async session": lambda dsn: session_on(dsn, "asyncpg"),
    "an async session on psycopg": lambda dsn: session_on(dsn, "psycopg"),
    "asyncpg": lambda dsn: asyncpg_connection(dsn, False),
    "asyncpg's pool": lambda dsn: asyncpg_connection(dsn, True),
}


@pytest.mark.parametrize("kind", [*BLOCKING, "any with cursors"])
def test_in_the_transaction_of_a_blocking_connection(world_dsn: str, kind: str) -> None:
    class Wrapped:  # as Django's, which is no connection of psycopg
        def __init__(self, connection: Any) -> None:
            self.cursor, self.commit, self.rollback = connection.cursor, connection.commit, connection.rollback

    with BLOCKING.get(kind, psycopg.connect)(world_dsn) as connection:
        given = Wrapped(connection) if kind == "any with cursors" else connection
        outbox.submit(given, QUEUE, "free", 0)
        given.rollback()
        one = outbox.submit(given, QUEUE, "free", {"n": "\0é"}, delay="1h")
        more = outbox.submit_many(given, QUEUE, [NewJob("free", n) for n in range(3)])
        given.commit()
    _check(world_dsn, one, more)


@pytest.mark.parametrize("kind", [*IN_LOOP, "async psycopg"])
async def test_in_the_transaction_of_a_connection_in_a_loop(world_dsn: str, kind: str) -> None:
    opened = IN_LOOP[kind](world_dsn) if kind in IN_LOOP else await psycopg.AsyncConnection.connect(world_dsn)
    async with opened as holder:
        given = holder.connection if isinstance(holder, OfAsyncpg) else holder
        await outbox.submit(given, QUEUE, "free", 0)
        await holder.rollback()
        if isinstance(holder, OfAsyncpg):
            holder.transaction = holder.connection.transaction()
            await holder.transaction.start()
        one = await outbox.submit(given, QUEUE, "free", {"n": "\0é"}, delay="1h")
        more = await outbox.submit_many(given, QUEUE, [NewJob("free", n) for n in range(3)])
        await holder.commit()
    _check(world_dsn, one, more)


@pytest.fixture
def world_dsn(database: Database) -> str:
    dsn = database_url(database)
    with psycopg.connect(dsn) as connection:
        outbox.create(connection)
        outbox.create(connection)
    return dsn


def _check(dsn: str, one: UUID, more: list[UUID]) -> None:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT id, payload, run_at - made_at FROM leveret_outbox").fetchall()
    kept = {row[0]: row[1:] for row in found}
    assert set(kept) == {one, *more}
    assert all(each.version == 7 for each in kept)
    assert kept[one][0] == '{"n":"\\u0000é"}'
    assert timedelta(hours=1) <= kept[one][1] < timedelta(hours=1, minutes=1)
    assert [kept[each] for each in more] == [("0", None), ("1", None), ("2", None)]


def test_what_cannot_be_sent_is_refused_while_it_can_be_rolled_back(world_dsn: str) -> None:
    with psycopg.connect(world_dsn) as connection:
        for bad in (
            {"type": "x" * 256, "payload": 1},
            {"type": "", "payload": 1},
            {"type": "a\nb", "payload": 1},
            {"type": "a", "payload": "x" * (256 << 10)},
            {"type": "a", "payload": float("nan")},
            {"type": "a", "payload": 1, "delay": "soon"},
            {"type": "a", "payload": 1, "delay": timedelta(days=400)},
            {"type": "a", "payload": 1, "run_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))},
            {"type": "a", "payload": 1, "delay": "1s", "run_at": datetime.now(UTC)},
            {"type": "a", "payload": 1, "id": UUID(int=4)},
        ):
            with pytest.raises(Unsendable):
                outbox.submit_many(connection, QUEUE, [{"type": "free", "payload": 1}, bad])
        assert connection.execute("SELECT count(*) FROM leveret_outbox").fetchone() == (0,)
    with pytest.raises(TypeError, match="no connection or session"):
        outbox.submit(object(), QUEUE, "free", 1)


@pytest.mark.parametrize("kind", ["SQLAlchemy", "asyncpg", "a URL", "a thread on SQLAlchemy", "a thread on psycopg"])
async def test_a_relay_sends_what_is_committed(world: World, kind: str) -> None:
    engine, blocking = create_async_engine(of(world.dsn, "asyncpg")), create_engine(of(world.dsn, "psycopg"))
    pool = await asyncpg.create_pool(world.dsn, min_size=0)
    databases = {"SQLAlchemy": engine, "asyncpg": pool, "a URL": world.dsn}
    threads = {"a thread on SQLAlchemy": blocking, "a thread on psycopg": world.dsn}

    @asynccontextmanager
    async def relaying() -> AsyncIterator[None]:
        if kind in databases:
            async with outbox.Relay(databases[kind], world.url, TOKEN):
                yield
        else:
            relay = await asyncio.to_thread(outbox.RelayThread(threads[kind], world.url, TOKEN).__enter__)
            yield
            await asyncio.to_thread(relay.__exit__, None, None, None)

    async with relaying():
        async with AsyncSession(engine) as session:
            ids = await outbox.submit_many(session, QUEUE, [NewJob("free", n) for n in range(450)])
            later = await outbox.submit(session, QUEUE, "free", "later", delay="1h")
            await session.commit()
        async with AsyncSession(engine) as session:
            await outbox.submit(session, QUEUE, "free", "never")
            await session.rollback()
        await world.empty()

        async def queued() -> bool:
            return all([(await world.producer.job(str(one)))["state"] == "queued" for one in ids[::50]])

        await eventually_true(queued, "they are published")
    assert (await world.producer.job(str(later)))["state"] == "scheduled"
    assert sorted(await message_ids(world.broker, QUEUE)) == sorted(map(str, ids))
    assert not [thread for thread in threading.enumerate() if thread.name == "leveret outbox"]
    await engine.dispose()
    blocking.dispose()
    await pool.close()


async def test_bad_rows_and_queues_stop_no_other(world: World) -> None:
    with psycopg.connect(world.dsn) as connection:
        bad = [*outbox.submit_many(connection, QUEUE, [NewJob("free", n) for n in range(3)])]
        connection.execute("UPDATE leveret_outbox SET payload = '{'")
        for at in ("infinity", "20000-01-01", "-infinity"):  # by hand: `submit` refuses such a time
            [odd] = outbox.submit_many(connection, QUEUE, [NewJob("free", 1)])
            connection.execute("UPDATE leveret_outbox SET run_at = %s WHERE id = %s", (at, odd))
            bad += [odd] if at != "-infinity" else []
        outbox.submit_many(connection, "leveret.nowhere", [NewJob("free", n) for n in range(600)])
        for queue in (QUEUE, OTHER):
            outbox.submit_many(connection, queue, [NewJob("free", n) for n in range(250)])
    async with outbox.Relay(world.dsn, world.url, TOKEN):

        async def done() -> bool:
            left = await asyncio.to_thread(world.rows)
            return len([row for row in left if row["queue"] != "leveret.nowhere" and not row["refused"]]) == 0

        await eventually_true(done, "the others are sent")
    left = world.rows()
    assert {row["id"] for row in left if row["refused"]} == set(bad)
    assert all("invalid-" in row["error"] for row in left if row["refused"])
    nowhere = [row for row in left if row["queue"] == "leveret.nowhere"]
    assert len(nowhere) == 600
    assert any("unknown-queue" in (row["error"] or "") for row in nowhere)


async def test_an_api_that_is_away_is_waited_for_and_a_submit_wakes_the_relay(world: World) -> None:
    pool = await asyncpg.create_pool(world.dsn, min_size=0)
    async with outbox.Relay(pool, "http://127.0.0.1:9", TOKEN):
        async with pool.acquire() as connection, connection.transaction():
            await outbox.submit(connection, QUEUE, "free", 1)

        async def told() -> bool:
            return any(row["error"] for row in await asyncio.to_thread(world.rows))

        await eventually_true(told, "why it waits is in the row")
    async with outbox.Relay(pool, world.url, TOKEN), outbox.Relay(world.dsn, world.url, TOKEN):
        await world.empty()
        async with pool.acquire() as connection, connection.transaction():
            one = await outbox.submit(connection, QUEUE, "free", 2)

        async def there() -> bool:
            return (await world.producer.http.get(f"/v1/jobs/{one}")).status_code == 200

        await eventually_true(there, "it is stored")
    await pool.close()


async def test_a_database_that_is_killed_is_waited_for(world: World, postgres: Server) -> None:
    async with outbox.Relay(world.dsn, world.url, TOKEN):
        with outbox.RelayThread(world.dsn, world.url, TOKEN):
            await asyncio.to_thread(postgres.kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(postgres.start)
            with psycopg.connect(world.dsn) as connection:
                ids = outbox.submit_many(connection, QUEUE, [NewJob("free", n) for n in range(50)])
            await world.empty()
    assert (await world.producer.job(str(ids[0])))["id"] == str(ids[0])


async def test_by_itself_and_a_stop(world: World) -> None:
    script = [sys.executable, "-m", "leveret.client.outbox"]
    ddl = await asyncio.to_thread(subprocess.check_output, [*script, "ddl"], text=True)
    assert ddl.strip() == outbox.DDL
    without = await asyncio.to_thread(subprocess.run, [*script, "relay"], capture_output=True, text=True, check=False)
    assert (without.returncode, "LEVERET_OUTBOX_DATABASE_URL" in without.stderr) == (1, True)
    environment = {"LEVERET_URL": world.url, "LEVERET_TOKEN": TOKEN, "LEVERET_OUTBOX_DATABASE_URL": world.dsn}
    process = await asyncio.create_subprocess_exec(*script, "relay", env=os.environ | environment)
    with psycopg.connect(world.dsn) as connection:
        one = outbox.submit(connection, QUEUE, "free", 1)
    await world.empty()
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30):
        assert await process.wait() == 0
    assert (await world.producer.job(str(one)))["payload"] == 1
