"""`submit`: jobs as rows in the transaction of whoever calls."""

import os
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload
from uuid import UUID

import msgspec

from leveret.client.outbox import connections, waking
from leveret.client.outbox.rows import Row, rows_of
from leveret.client.outbox.statements import CREATE, INSERT, LOCK
from leveret.client.values import NewJob
from leveret.jobs import uuid7

if TYPE_CHECKING:
    import asyncpg
    import psycopg
    from asyncpg.pool import PoolConnectionProxy
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

    InLoop = AsyncSession | AsyncConnection | asyncpg.Connection | PoolConnectionProxy | psycopg.AsyncConnection[Any]

_T = TypeVar("_T")
_Jobs = Iterable[NewJob | Mapping[str, object]]


@overload
def submit(
    connection: "InLoop", queue: str, type: str, payload: object, *, run_at: datetime | None = None,
    delay: timedelta | str | None = None,
) -> Coroutine[Any, Any, UUID]: ...  # fmt: skip
@overload
def submit(
    connection: Any, queue: str, type: str, payload: object, *, run_at: datetime | None = None,
    delay: timedelta | str | None = None,
) -> UUID: ...  # fmt: skip
def submit(
    connection: Any, queue: str, type: str, payload: object, *, run_at: datetime | None = None,
    delay: timedelta | str | None = None,
) -> UUID | Coroutine[Any, Any, UUID]:  # fmt: skip
    """Have a job submitted once the connection's transaction is committed, and return its id; if it must be, `await` it.

    `delay` counts from now, by the database's clock. Raises Unsendable, and what the driver does.
    """
    rows = rows_of(queue, [NewJob(type, payload, run_at, delay)], datetime.now(UTC), _new_id)
    return _insert(connection, rows, rows[0].id)


@overload
def submit_many(connection: "InLoop", queue: str, jobs: _Jobs) -> Coroutine[Any, Any, list[UUID]]: ...
@overload
def submit_many(connection: Any, queue: str, jobs: _Jobs) -> list[UUID]: ...
def submit_many(connection: Any, queue: str, jobs: _Jobs) -> list[UUID] | Coroutine[Any, Any, list[UUID]]:
    """The same for many, in one statement; their ids are in their order."""
    rows = rows_of(queue, jobs, datetime.now(UTC), _new_id)
    return _insert(connection, rows, [row.id for row in rows])


@overload
def create(database: "InLoop | AsyncEngine") -> Coroutine[Any, Any, None]: ...
@overload
def create(database: Any) -> None: ...
def create(database: Any) -> Coroutine[Any, Any, None] | None:
    """Make the table where it's missing: with an engine at once, with a connection in its transaction."""
    if connections.runs_in_loop(database):
        return _create_in_loop(database)
    if hasattr(database, "dispose"):
        with connections.borrowed(database) as connection:
            return create(connection)  # type: ignore[no-any-return]
    for statement in (LOCK, *CREATE):
        connections.run(database, statement)
    return None


async def _create_in_loop(database: Any) -> None:
    if hasattr(database, "dispose"):
        async with connections.borrowed(database) as connection:
            return await _create_in_loop(connection)
    for statement in (LOCK, *CREATE):
        await connections.run_in_loop(database, statement)
    return None


def _insert(connection: Any, rows: Sequence[Row], ids: _T) -> _T | Coroutine[Any, Any, _T]:
    value = msgspec.json.encode(rows).decode()
    if connections.runs_in_loop(connection):
        return _insert_in_loop(connection, value, ids)
    connections.run(connection, INSERT, value)
    waking.wake()
    return ids


async def _insert_in_loop(connection: Any, value: str, ids: _T) -> _T:
    await connections.run_in_loop(connection, INSERT, value)
    waking.wake()
    return ids


def _new_id() -> UUID:
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))  # not from a generator that a fork has twice
