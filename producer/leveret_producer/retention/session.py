"""What one replica does about what is old: a connection of its own, and an advisory lock beside its turn.

So a lock that is not granted is not taken for a database that is away; and the advisory lock ends with the connection,
whatever ends that.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from leveret.settings import Database
from leveret_producer.store.postgres import connect

LOCK = 0x6C65766572657404  # "leveret", 4: one number for all replicas
CONNECT_TIMEOUT = 5.0  # s
LOCK_TIMEOUT = "2s"  # so long at most do others wait behind us
INDEX_LOCK_TIMEOUT = "10s"  # nobody waits behind a build, but it waits for who writes meanwhile
# For building an index beside the others' work; what holds locks takes far less.
STATEMENT_TIMEOUT, COMMAND_TIMEOUT = "10min", 660.0

KEYS = {"jobs": "id", "payloads": "id", "attempts": "job_id"}


@dataclass(frozen=True, slots=True)
class Session:
    """What it may do while it holds the advisory lock."""

    connection: asyncpg.Connection

    async def now(self) -> datetime:
        now: datetime = await self.connection.fetchval("SELECT now()")
        return now

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """Do what is in the block whole or not at all, and wait for no lock for long."""
        async with self.connection.transaction():
            await self.run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            yield

    async def run(self, statement: str, *values: object) -> int:
        """Return how many rows a statement wrote; 0 for one that writes none."""
        said = await self.connection.execute(statement, *values)
        number = said.rpartition(" ")[2]
        return int(number) if number.isdecimal() else 0


@asynccontextmanager
async def alone(read: Callable[[], Database], name: str) -> AsyncIterator[Session | None]:
    """Connect and be the one replica that does this; None: another one is at it."""
    settings = {"statement_timeout": STATEMENT_TIMEOUT, "lock_timeout": INDEX_LOCK_TIMEOUT}
    connection = await connect(read(), name, settings, timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT)
    try:
        mine = await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK)
        yield Session(connection) if mine else None
    finally:
        await _close(connection)


async def _close(connection: asyncpg.Connection) -> None:
    try:
        await connection.close(timeout=2)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
