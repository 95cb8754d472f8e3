"""Transactions on PostgreSQL that end within a few seconds, one way or the other.

The credentials are read anew for each connection, so a rotated Secret takes effect without a restart. What can go
wrong is sorted into what a caller can act on: the database is not there (or does not answer), it may have committed
before it went away, it asks to try again, or it refuses the data.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from leveret.settings import Database, MissingSetting

ACQUIRE_TIMEOUT = 4.0  # s until a connection that answers is there: waiting for a free one, asking it, opening one
CONNECT_TIMEOUT = 3.0  # s
STATEMENT_TIMEOUT = 8.0  # s, also kept by the server for a client that is gone
POOL_TIMEOUT = 3.0  # s to wait for a free connection

# SQLSTATE classes: 08 connection, 25 read-only (a standby), 28 credentials, 3D no such database, 53 out of resources,
# 57 shutting down or stopped by a time-out, 58 system error.
_AWAY = ("08", "25", "28", "3D", "53", "55", "57", "58")
_AGAIN = ("40",)
_DATA = ("21", "22", "23")


class DatabaseUnavailable(Exception):
    """The database did not take this. Nothing was stored, unless `maybe_stored`: the answer to COMMIT was lost."""

    def __init__(self, because: str, *, maybe_stored: bool = False) -> None:
        super().__init__(because)
        self.maybe_stored = maybe_stored


class TryAgain(Exception):
    """Two transactions stood in each other's way, and this one was rolled back."""


class DataRefused(Exception):
    """The database will never take these values."""


async def connect(
    place: Database, name: str, settings: Mapping[str, str], *, timeout: float, command_timeout: float
) -> asyncpg.Connection:
    """Open one connection, under a name that pg_stat_activity shows; `settings` are the server's for it. Times in s."""
    return await asyncpg.connect(
        host=place.host,
        port=place.port,
        user=place.username,
        password=place.password,
        database=place.dbname,
        timeout=timeout,
        command_timeout=command_timeout,
        server_settings={"application_name": name, **settings},
    )


class Postgres:
    """A pool of connections, and how the database fared when last asked."""

    def __init__(self, read: Callable[[], Database], *, connections: int, name: str) -> None:
        async def open_one() -> asyncpg.Connection:
            settings = {
                "statement_timeout": f"{STATEMENT_TIMEOUT:.0f}s",
                "idle_in_transaction_session_timeout": "30s",
            }
            return await connect(read(), name, settings, timeout=CONNECT_TIMEOUT, command_timeout=STATEMENT_TIMEOUT)

        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=open_one,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            pool_pre_ping=True,
        )
        self.trouble: str | None = None  # of the last transaction; None: it went well
        self.asked_at = 0.0  # of the monotonic clock

    @asynccontextmanager
    async def transaction(self, timeout: float = 5.0) -> AsyncIterator[AsyncConnection]:
        """Commit at the end of the block; raise one of this module's errors for what the database does not do."""
        committing = False
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT) as limit, self._engine.connect() as connection:
                limit.reschedule(asyncio.get_running_loop().time() + timeout)
                yield connection
                committing = True
                await connection.commit()
        except (DBAPIError, PoolTimeout, OSError, TimeoutError, MissingSetting, asyncpg.PostgresError) as problem:
            raise self._sorted(problem, committing) from problem
        except asyncpg.InterfaceError as problem:
            raise self._sorted(problem, committing) from problem
        else:
            self._note(None)

    async def close(self) -> None:
        await self._engine.dispose()

    def _sorted(self, problem: Exception, committing: bool) -> Exception:
        """Return what to raise instead."""
        state = _sqlstate(problem)
        if state.startswith(_AGAIN):
            return TryAgain(str(problem))
        if state.startswith(_DATA):
            return DataRefused(_first_line(problem))
        if isinstance(problem, DBAPIError) and state and not state.startswith(_AWAY):
            return problem  # a defect of ours
        self._note(because := _first_line(problem))
        return DatabaseUnavailable(because, maybe_stored=committing)

    def _note(self, trouble: str | None) -> None:
        self.trouble, self.asked_at = trouble, time.monotonic()


def _sqlstate(problem: Exception) -> str:
    """The five characters by which PostgreSQL names an error; '' if it did not come from there."""
    links = (problem, getattr(problem, "orig", None), getattr(getattr(problem, "orig", None), "__cause__", None))
    for link in links:
        if isinstance(link, asyncpg.DataError):
            return "22000"  # also raised by the driver itself, for a value that it can't encode
        if isinstance(state := getattr(link, "sqlstate", None), str):
            return state
    return ""


def _first_line(problem: Exception) -> str:
    said = str(getattr(problem, "orig", None) or problem).strip()
    return f"{type(problem).__name__}: {said.splitlines()[0] if said else 'no answer in time'}"
