"""Transactions on PostgreSQL that end within a few seconds, one way or the other.

The credentials are read anew for each connection, so a rotated Secret takes effect without a restart. What can go
wrong is sorted into what a caller can act on: the database is not there (or does not answer), it may have committed
before it went away, it gave a statement up, it asks to try again, or it refuses the data.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from leveret.settings import Database, MissingSetting

ACQUIRE_TIMEOUT = 4.0  # s until a connection that answers is there: waiting for a free one, asking it, opening one
CONNECT_TIMEOUT = 3.0  # s
STATEMENT_TIMEOUT = 8.0  # s, also kept by the server for a client that is gone
POOL_TIMEOUT = 3.0  # s to wait for a free connection
RESTED = 1.0  # s that a connection wasn't used: then it is asked whether it answers, which takes three round trips
LAST_WORD = 1.0  # s; so much longer do we wait for a statement than the server, that it says itself that it gave it up

# SQLSTATE classes: 08 connection, 25 read-only (a standby), 28 credentials, 3D no such database, 53 out of resources,
# 57 shutting down, 58 system error. And what nobody's data can help: no such schema, table or column, no right to them.
POOLED = "a pooler in between must be in session mode and ignore three settings (docs/how-to/your-own-postgresql.md)"
_POOLED = ("26000", "42P05")  # nor a prepared statement that is on another of a pooler's connections
AWAY = ("08", "25", "28", "3D", "3F", "42501", "42703", "42P01", "53", "55", "57", "58", *_POOLED)
_NOT_LET_IN = {
    "42501": "GRANT CONNECT ON DATABASE {database} TO {role}",
    "3D000": "CREATE DATABASE {database} OWNER {role} ENCODING 'UTF8' TEMPLATE template0, or name another one in the Secret",
    "28P01": "write the password of {role} into the Secret, or ALTER ROLE {role} PASSWORD '…'",
}
_DRIVERS_CLASS = re.compile(r"^<class '[^']*'>: ")
_VALUE = re.compile(r"""\s*(".*"|".*|:\s.*)""", re.DOTALL)
# What doesn't tell whether a commit is done: no word, or one that the connection or the server ends with. Others refuse it.
_NO_ANSWER = ("08", "57", "58")
_GIVEN_UP = "57014"  # by the server's time-out, or by somebody's hand
_AGAIN = ("40",)
_DATA = ("21", "22", "23", "54")  # 54: too long for an index
_TROUBLES = (
    DBAPIError,
    PoolTimeout,
    OSError,
    TimeoutError,
    MissingSetting,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # how the driver tells of some answers that got lost
)


class DatabaseUnavailable(Exception):
    """The database did not take this. Nothing was stored, unless `maybe_stored`: the answer to what commits was lost."""

    def __init__(self, because: str, *, maybe_stored: bool = False) -> None:
        super().__init__(because)
        self.maybe_stored = maybe_stored


class TookTooLong(DatabaseUnavailable):
    """The database is there, and gave up a statement that took too long. Nothing was stored."""


class TryAgain(Exception):
    """Two transactions stood in each other's way, and this one was rolled back."""


class Defect(Exception):
    """The database does not take a statement of ours; that is nobody's data and nobody's settings."""


class DataRefused(Exception):
    """The database will never take these values."""


def nothing_stored(problem: BaseException) -> bool:
    """Tell whether a transaction that ended so has surely stored nothing; of one that was cancelled that isn't known."""
    if isinstance(problem, DatabaseUnavailable):
        return not problem.maybe_stored
    return isinstance(problem, TryAgain | DataRefused)


async def connect(
    place: Database, name: str, settings: Mapping[str, str], *, timeout: float, command_timeout: float
) -> asyncpg.Connection:
    """Open one connection, under a name that pg_stat_activity shows; `settings` are the server's for it. Times in s."""
    try:
        connection: asyncpg.Connection = await asyncpg.connect(
            host=place.host,
            port=place.port,
            user=place.username,
            password=place.password,
            database=place.dbname,
            timeout=timeout,
            command_timeout=command_timeout,
            server_settings={"application_name": name, **settings},
        )
    except asyncpg.PostgresError as problem:
        if remedy := _NOT_LET_IN.get(str(problem.sqlstate)):
            names = {"role": quoted(place.username), "database": quoted(place.dbname)}
            problem.args = (f"{problem.args[0]}: {remedy.format(**names)}",)
        raise
    try:
        # No statement of ours is worth compiling, which takes a second. Not among the settings that a connection begins
        # with: a pooler may refuse one that it doesn't know.
        await connection.execute("SET jit = off")
    except BaseException:
        connection.terminate()
        raise
    return connection


class Postgres:
    """A pool of connections, and how the database fared when last asked."""

    def __init__(
        self,
        read: Callable[[], Database],
        *,
        connections: int,
        name: str,
        statement_timeout: float = STATEMENT_TIMEOUT,
    ) -> None:
        self._read, self._name = read, name
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: self._open(statement_timeout),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            hide_parameters=True,  # payloads, in its exceptions' texts
        )
        event.listen(self._engine.sync_engine, "checkout", _look_at)
        self._committing = self._engine.execution_options(isolation_level="AUTOCOMMIT")  # of the same pool
        self.trouble: str | None = None  # of the last transaction; None: it went well
        self.asked_at = 0.0  # of the monotonic clock

    @asynccontextmanager
    async def transaction(self, timeout: float = 5.0) -> AsyncIterator[AsyncConnection]:
        """Commit at the end of the block; raise one of this module's errors for what the database does not do."""
        async with self._transaction(self._engine, timeout) as connection:
            yield connection

    @asynccontextmanager
    async def statement(self, timeout: float = 5.0) -> AsyncIterator[AsyncConnection]:
        """The same for one statement, which commits itself: one round trip instead of three."""
        async with self._transaction(self._committing, timeout, commits=True) as connection:
            yield connection

    @asynccontextmanager
    async def long_transaction(self, timeout: float) -> AsyncIterator[AsyncConnection]:
        """The same on a connection of its own, each statement of which may take as long as all."""
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=lambda: self._open(timeout),
            poolclass=NullPool,
            hide_parameters=True,
        )
        async with self._transaction(engine, timeout) as connection:
            yield connection

    async def close(self) -> None:
        await self._engine.dispose()

    async def _open(self, statement_timeout: float) -> asyncpg.Connection:
        settings = {
            "statement_timeout": f"{statement_timeout * 1000:.0f}ms",
            "idle_in_transaction_session_timeout": "30s",
        }
        patience = statement_timeout + LAST_WORD
        return await connect(self._read(), self._name, settings, timeout=CONNECT_TIMEOUT, command_timeout=patience)

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, timeout: float, *, commits: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        committing = False
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT) as limit, engine.connect() as connection:
                if limit.expired():  # and the library has kept its cancellation to itself
                    raise TimeoutError
                limit.reschedule(asyncio.get_running_loop().time() + timeout)
                committing = commits
                yield connection
                if not commits:
                    committing = True
                    await connection.commit()
        except _TROUBLES as problem:
            # Without where it came from: the driver's own text has the values of the row, and of the statement.
            raise self._sorted(problem, committing) from None
        else:
            self._note(None)

    def _sorted(self, problem: Exception, committing: bool) -> Exception:
        """Return what to raise instead."""
        state = _sqlstate(problem)
        if state == _GIVEN_UP:
            self._note(None)  # it answers
            return TookTooLong(said(problem))
        if state.startswith(_AGAIN):
            return TryAgain(said(problem))
        if state.startswith(_DATA):
            return DataRefused(said(problem))
        if isinstance(problem, DBAPIError) and state and not state.startswith(AWAY):
            return Defect(f"{said(problem)}, at {' '.join((problem.statement or '').split())[:200]}")
        self._note(because := said(problem))
        return DatabaseUnavailable(because, maybe_stored=committing and (not state or state.startswith(_NO_ANSWER)))

    def _note(self, trouble: str | None) -> None:
        self.trouble, self.asked_at = trouble, time.monotonic()


def _look_at(connection: Any, record: ConnectionPoolEntry, _: object) -> None:
    """Have the pool open another connection in place of one that is closed, or has rested and doesn't answer.

    One that breaks while it is in use all the time fails with what it is asked first.
    """
    now = time.monotonic()
    rested = now - record.info.get("used_at", now)
    record.info["used_at"] = now
    if connection.driver_connection.is_closed():
        raise DisconnectionError("it is closed")
    if rested > RESTED:
        try:
            connection.ping()
        except Exception as problem:
            raise DisconnectionError("it doesn't answer") from problem


def _sqlstate(problem: Exception) -> str:
    """The five characters by which PostgreSQL names an error; '' if it did not come from there."""
    links = (problem, getattr(problem, "orig", None), getattr(getattr(problem, "orig", None), "__cause__", None))
    for link in links:
        if isinstance(link, asyncpg.DataError):
            return "22000"  # also raised by the driver itself, for a value that it can't encode
        if isinstance(state := getattr(link, "sqlstate", None), str):
            return state
    return ""


def quoted(name: str) -> str:
    """Write a name as SQL needs it."""
    plain = name.isascii() and name.isidentifier() and name == name.lower()
    return name if plain else '"' + name.replace('"', '""') + '"'


def said(problem: Exception) -> str:
    """Return what the database or its driver said, in one line without any value: payloads are among those."""
    told = _DRIVERS_CLASS.sub("", str(getattr(problem, "orig", None) or problem).strip())
    told = told.splitlines()[0] if told else "no answer in time"
    state = _sqlstate(problem)
    if state.startswith("22"):  # what the data is blamed for is quoted, or stands behind a colon
        told = _VALUE.sub(" …", told)
    if state in _POOLED or "startup parameter" in told or "pooling mode" in told:
        told += f": {POOLED}"
    return f"{type(problem).__name__}: {told}"
