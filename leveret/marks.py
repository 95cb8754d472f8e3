"""Done-marks: a table in the user's PostgreSQL that tells which jobs' transactions are committed, by job and generation.

A mark is inserted first in its transaction, so a second run of the job waits at its own insert until the first one's
transaction has ended. Afterwards it is there, with all that the transaction wrote, or it isn't, with nothing of it. The
same holds for whoever sent COMMIT and has no answer. Marks are kept for 14 days.

`python -m leveret.marks` prints the statements that make the table; `create(engine)` runs them.
"""

import asyncio
import zlib
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, overload
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from leveret.daemons import Daemons
from leveret.sdk.commit import Mark, MarksMissing, TransactionRefused
from leveret.sdk.follow_ups import FollowUp

TABLE = "leveret_marks"
_ADD = f"ALTER TABLE {TABLE} ADD COLUMN IF NOT EXISTS follow_ups bytea"  # a table that was made before
_CREATE = (
    f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    job uuid NOT NULL,
    generation integer NOT NULL,
    result bytea,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job, generation)
)""",
    _ADD,
    f"CREATE INDEX IF NOT EXISTS {TABLE}_made_at ON {TABLE} (made_at)",
)
DDL = ";\n".join(_CREATE) + ";"

_read = msgspec.json.Decoder(tuple[FollowUp, ...]).decode

PRUNES_ONE_IN = 20  # commits; each makes one mark, and may take away
STEP = 1_000  # marks
_LOCK = 5_463_019_277  # advisory, of those who create the table at once: PostgreSQL would fail one of them

_CREATE_ONE_BY_ONE = text("SELECT pg_advisory_xact_lock(:lock)")
_WAITS = text("SELECT current_setting('lock_timeout'), set_config('lock_timeout', :patience, true)")
_INSERT = text(
    f"INSERT INTO {TABLE} (job, generation) VALUES (:job, :generation) ON CONFLICT DO NOTHING RETURNING job"  # noqa: S608
)
_WAITS_AS_BEFORE = text("SELECT set_config('lock_timeout', :was, true)")
# By the row as a whole, which has the column or not: a statement that names one that is missing ends the transaction.
_MARK = text(
    f"SELECT result, CAST(to_jsonb(mark) ->> 'follow_ups' AS bytea) FROM {TABLE} AS mark "  # noqa: S608
    "WHERE job = :job AND generation = :generation"
)
# A transaction whose client vanishes before COMMIT would hold up the job's next run for hours.
_LAST = text(
    f"SELECT set_config('idle_in_transaction_session_timeout', '30s', true) FROM {TABLE} "  # noqa: S608
    "WHERE job = :job AND generation = :generation"
)
_KEEP = text(f"UPDATE {TABLE} SET result = :result WHERE job = :job AND generation = :generation")  # noqa: S608
_KEEP_FOLLOW_UPS = text(
    f"UPDATE {TABLE} SET result = :result, follow_ups = :follow_ups "  # noqa: S608
    "WHERE job = :job AND generation = :generation"
)
_BOUNDED = text("SELECT set_config('lock_timeout', '5s', true), set_config('statement_timeout', '10s', true)")
_PRUNE = text(
    f"""DELETE FROM {TABLE} WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {TABLE} WHERE made_at < now() - interval '14 days' ORDER BY made_at LIMIT {STEP} FOR UPDATE SKIP LOCKED
))"""  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Key:
    job: UUID
    generation: int

    @property
    def words(self) -> dict[str, object]:
        return {"job": self.job, "generation": self.generation}


@overload
def create(engine: Engine) -> None: ...
@overload
def create(engine: AsyncEngine) -> Coroutine[Any, Any, None]: ...
def create(engine: Engine | AsyncEngine) -> Coroutine[Any, Any, None] | None:
    """Make the table where it's missing; of an AsyncEngine, `await` it. Raises what the database does."""
    if isinstance(engine, AsyncEngine):
        return _create_async(engine)
    with engine.begin() as connection:
        _create(connection)
    return None


async def _create_async(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(_create)


def _create(connection: Connection) -> None:
    connection.execute(_CREATE_ONE_BY_ONE, {"lock": _LOCK})
    for statement in _CREATE:
        connection.execute(text(statement))


async def check(engine: Engine | AsyncEngine) -> None:
    """Raise MarksMissing if the table is not there, and what the database does; a database that hangs is waited for."""
    if isinstance(engine, AsyncEngine):
        async with engine.connect() as connection:
            await connection.run_sync(_check)
    else:
        await asyncio.wrap_future(Daemons().submit(_check_in_thread, engine))


def _check_in_thread(engine: Engine) -> None:
    with engine.connect() as connection:
        _check(connection)


def _check(connection: Connection) -> None:
    if not inspect(connection).has_table(TABLE):
        raise _missing(connection)


def insert(connection: Connection, key: Key, patience: timedelta) -> Mark | None:
    """Insert the mark first in the connection's transaction, and return None; or the one that is committed.

    Waits for the end of another transaction that has inserted it. Raises MarksMissing, TransactionRefused where that takes
    longer than `patience` (0 or less: 1 ms), and what else the database does.
    """
    milliseconds = max(1, min(int(patience / timedelta(milliseconds=1)), 2**31 - 1))
    while True:
        try:
            return _insert(connection, key, f"{milliseconds}ms")
        except DBAPIError as problem:
            connection.rollback()
            match sqlstate(problem):
                case "42P01":  # no such table
                    raise _missing(connection) from problem
                case "55P03":  # the lock's time-out
                    raise TransactionRefused(
                        "another run of this job has its transaction open; this attempt waited until its own end, and fails"
                    ) from problem
                case "40001":  # the other one has committed since a snapshot that isn't of READ COMMITTED: look anew
                    continue
            raise


def _insert(connection: Connection, key: Key, patience: str) -> Mark | None:
    was = connection.execute(_WAITS, {"patience": patience}).one()[0]
    if connection.execute(_INSERT, key.words).first() is None:
        return _mark(connection, key)
    connection.execute(_WAITS_AS_BEFORE, {"was": was})
    return None


def finish(connection: Connection, key: Key, mark: Mark) -> bool:
    """Do what comes last before COMMIT; tell whether the mark is there. Fails where a statement has failed before: COMMIT
    would not, and roll back. Raises MarksMissing for follow-ups where the table has no place for them.
    """
    there = connection.execute(_LAST, key.words).first() is not None
    if there and mark.follow_ups:
        _keep_follow_ups(connection, key, mark)
    elif there and mark.result is not None:
        connection.execute(_KEEP, {**key.words, "result": mark.result})
    return there


def _keep_follow_ups(connection: Connection, key: Key, mark: Mark) -> None:
    kept = {"result": mark.result, "follow_ups": msgspec.json.encode(mark.follow_ups)}
    try:
        connection.execute(_KEEP_FOLLOW_UPS, {**key.words, **kept})
    except DBAPIError as problem:
        if sqlstate(problem) == "42703":  # no such column
            raise _missing(connection, "column follow_ups in the table", _ADD) from problem
        raise


def is_committed(connection: Connection, key: Key) -> bool:
    """Tell whether the transaction that had inserted the mark was committed, once it has ended.

    Raises what the database does, also where it has not ended within 5 s: ask again.
    """
    connection.execution_options(isolation_level="READ COMMITTED")
    connection.execute(_BOUNDED)
    inserted = connection.execute(_INSERT, key.words).first() is not None
    connection.rollback()
    return not inserted


async def committed(engine: Engine | AsyncEngine, key: Key) -> Mark | None:
    """Return the mark if it is committed, once every transaction that has inserted it has ended. Raises as `is_committed`."""
    if isinstance(engine, AsyncEngine):
        async with engine.connect() as connection:
            return await connection.run_sync(_committed, key)
    return await asyncio.wrap_future(Daemons().submit(_committed_in_thread, engine, key))


def _committed_in_thread(engine: Engine, key: Key) -> Mark | None:
    with engine.connect() as connection:
        return _committed(connection, key)


def _committed(connection: Connection, key: Key) -> Mark | None:
    try:
        if not is_committed(connection, key):
            return None
    except DBAPIError as problem:
        if sqlstate(problem) == "42P01":  # no such table, so no mark
            return None
        raise
    return _mark(connection, key)


def _mark(connection: Connection, key: Key) -> Mark:
    result, follow_ups = connection.execute(_MARK, key.words).first() or (None, None)
    return Mark(result, earlier=True, follow_ups=_read(follow_ups) if follow_ups else ())


def prunes(key: Key) -> bool:
    """Tell whether the job's run takes old marks away: by its id, so that all take their turn and none counts."""
    return zlib.crc32(key.job.bytes) % PRUNES_ONE_IN == 0


def prune(connection: Connection) -> int:
    """Delete marks that are older than 14 days, at most 1,000, and commit; return how many."""
    connection.execute(_BOUNDED)
    deleted = connection.execute(_PRUNE).rowcount
    connection.commit()
    return deleted


def sqlstate(problem: DBAPIError) -> str | None:
    return getattr(problem.orig, "sqlstate", None)


def _missing(connection: Connection, what: str = "table", ddl: str = DDL) -> MarksMissing:
    return MarksMissing(
        f"the database {connection.engine.url.database} has no {what} {TABLE}, in which transactions leave their done-marks: "
        f"run leveret.marks.create(engine) once, or these statements:\n{ddl}"
    )


if __name__ == "__main__":
    print(DDL)
