"""An example's own PostgreSQL, which may be away at any time: tables are made at the first connection, trouble is one exception.

Whatever goes wrong with the database is raised as Away, which says whether something may have been stored.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from examples.fronts.problems import Problem

_CONNECT_SECONDS = 5.0
_MAKING = 7_315_080  # the lock of whoever makes tables
# The last one is raised where a connection breaks between two steps of asyncpg's own.
_TROUBLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = logging.getLogger(__name__)


class Away(Exception):
    """The database can't be used now."""

    def __init__(self, stored: str) -> None:
        super().__init__("the database does not answer")
        self.stored = stored  # "no" or "unknown"


def away(raised: Away, method: str) -> Problem:
    """Return what a front answers then to a request of that method."""
    kept = {"no": "Nothing was stored", "unknown": "It is not known whether something was stored"}[raised.stored]
    said = "What was stored before is kept" if method == "GET" else kept
    return Problem(503, "unavailable", f"The database does not answer. {said}: ask again.")


async def _make(connection: Any, tables: str) -> None:
    """Run a script that makes tables once: an index that is there already is locked against all who write."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
        await connection.execute("CREATE TABLE IF NOT EXISTS made_by (script text PRIMARY KEY)")
        digest = hashlib.sha256(tables.encode()).hexdigest()
        if await connection.fetchval("INSERT INTO made_by VALUES ($1) ON CONFLICT DO NOTHING RETURNING true", digest):
            await connection.execute(tables)


class OwnDatabase:
    def __init__(
        self, name: str, tables: str | None, url: str | None = None, *, connections: int = 8, seconds: float = 30.0
    ) -> None:
        """Connect when it is used; without a URL to where libpq's variables (PGHOST, PGPASSWORD, …) point.

        `tables` is the script that makes them, None if somebody else does; a statement has so many seconds.
        """
        self._tables, self._made, self._away, self._opening = tables, False, False, asyncio.Lock()
        self._pool: asyncpg.Pool[Any] = asyncpg.create_pool(
            url,
            min_size=0,
            max_size=connections,
            timeout=_CONNECT_SECONDS,
            command_timeout=seconds,
            server_settings={"application_name": name},
        )

    async def ping(self) -> None:
        async with self._connection() as connection:
            await connection.execute("SELECT 1")

    async def close(self) -> None:
        with suppress(asyncpg.InterfaceError):  # of a pool that nobody has used
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        stored = "no"
        try:
            async with self._opening:
                await self._pool
            async with self._pool.acquire(timeout=_CONNECT_SECONDS) as connection:
                if not self._made:
                    if self._tables:
                        await _make(connection, self._tables)
                    self._made, self._away = True, False
                stored = "unknown"
                yield connection
        except _TROUBLE as problem:
            self._made = False  # it may come back as another one
            if not self._away:
                log.warning("the database can't be used: %s: %s", type(problem).__name__, problem)
            self._away = True
            raise Away(stored) from problem

    acquire = _connection  # as a pool lends one: it is what an outbox's relay takes
