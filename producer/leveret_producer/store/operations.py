"""Operations on many jobs: rows, each with the chunks that are left to do of it.

What an operation is about is settled when it is asked for: the ids, each with its generation. So what comes or dies later
is left alone, and whoever carries on with it, after a kill too, does the same. A chunk is done in one transaction
with the note that it is done.
"""

# ruff: noqa: S608 - what the statements are made of is our own

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret_producer.store.cancel_action import CANCEL
from leveret_producer.store.dead_letter_actions import PURGE, REDRIVE
from leveret_producer.store.operation import Action, Search, Selection
from leveret_producer.store.postgres import Postgres
from leveret_producer.views import Operation

ACTIONS: Mapping[str, Action] = {"redrive": REDRIVE, "purge": PURGE, "cancel": CANCEL}

CHUNK = 500  # ids
PAGE = 100 * CHUNK  # a multiple: only the last page has a chunk that is not full
SETTLE_TIMEOUT = 60.0  # s; it takes about 1 s for 100,000
LEASE = 10.0  # s; more than a chunk takes

_SHOWN = "id, queue, action, state, total, done, skipped, created_at, finished_at"
_CREATE = text(
    """
    INSERT INTO dead_letter_operations (id, queue, action, selection, state, total, created_at)
    VALUES (:id, :queue, :action, :selection, :state, 0, now())
    """
)
# All that is found is of one moment, so that no job is found twice, or never, since it has gone on meanwhile.
_ONE_MOMENT = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
# A page of them at a time, the newest first: no statement takes long, however many there are.
_CHUNKS = """
    WITH found AS MATERIALIZED (
        SELECT id, generation, {at} AS at FROM jobs WHERE {conditions} ORDER BY {at} DESC, id DESC LIMIT :page
    ), numbered AS (
        SELECT id, generation, :first + (row_number() OVER (ORDER BY id) - 1) / :chunk AS number FROM found
    ), kept AS (
        INSERT INTO dead_letter_chunks (operation, number, ids, generations)
        SELECT :operation, number, array_agg(id ORDER BY id), array_agg(generation ORDER BY id)
        FROM numbered GROUP BY number
    )
    SELECT at, id, (SELECT count(*) FROM found) AS jobs FROM found ORDER BY at, id LIMIT 1
"""
# One that nothing is left to do of is done; where it was about nothing, there is nothing to sweep either.
_BEGIN = text(
    f"""
    UPDATE dead_letter_operations SET total = CAST(:total AS bigint), skipped = CAST(:total AS bigint) - CAST(:found AS bigint),
        state = CASE WHEN :found = 0 THEN 'done' ELSE state END,
        finished_at = CASE WHEN :found = 0 THEN now() END,
        swept_at = CASE WHEN :total = 0 OR :found = 0 AND NOT :is_swept THEN now() END
    WHERE id = :id RETURNING {_SHOWN}
    """
)
_GET = text(f"SELECT {_SHOWN} FROM dead_letter_operations WHERE id = :id AND queue = :queue")
_CLAIM = text(
    """
    UPDATE dead_letter_operations SET lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
    WHERE id = (
        SELECT id FROM dead_letter_operations
        WHERE swept_at IS NULL AND state = ANY(CAST(:states AS text[])) AND lease_until <= now()
        ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, queue, action
    """
)
_NEXT = text("SELECT number, ids, generations FROM dead_letter_chunks WHERE operation = :id ORDER BY number LIMIT 1")
_LOCK = text("SELECT 1 FROM dead_letter_operations WHERE id = :id FOR UPDATE")
_DROP = text("DELETE FROM dead_letter_chunks WHERE operation = :id AND number = :number")
_NOTE = text(
    f"""
    UPDATE dead_letter_operations SET done = done + :done, skipped = skipped + :skipped,
        lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
    WHERE id = :id RETURNING {_SHOWN}
    """
)
_FINISH = text(
    f"""
    UPDATE dead_letter_operations SET state = 'done', finished_at = now(), lease_until = now(),
        swept_at = CASE WHEN NOT :is_swept THEN now() END
    WHERE id = :id AND state <> 'done' RETURNING {_SHOWN}
    """
)
_RELEASE = text(
    """
    UPDATE dead_letter_operations SET lease_until = now() + CAST(:wait AS double precision) * interval '1 second'
    WHERE id = :id
    """
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An operation that this replica has for as long as it carries on with it."""

    id: UUID
    queue: str
    action: str


@dataclass(frozen=True, slots=True)
class Step:
    """How far an operation is, how many jobs its last chunk changed, and which of those the database has ended."""

    operation: Operation
    jobs: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)  # by queue


class Operations:
    def __init__(self, postgres: Postgres, page: int = PAGE) -> None:
        self._postgres = postgres
        self._page = page

    async def create(self, id: UUID, queue: str, action: str, selection: Selection) -> Operation:
        """Store what is to be done, whole or not at all, and return it."""
        doing, stored = ACTIONS[action], msgspec.json.encode(selection).decode()
        begun = {"id": id, "queue": queue, "action": action, "selection": stored, "state": doing.goes_on_as}
        async with self._postgres.transaction(timeout=SETTLE_TIMEOUT) as connection:
            await connection.execute(_ONE_MOMENT)
            await connection.execute(_CREATE, begun)
            found = chunks = 0
            for search in doing.searches(queue, selection):
                jobs = await self._settle(connection, id, _among(selection, search), doing.newest_by, chunks)
                found, chunks = found + jobs, chunks - -jobs // CHUNK
            await doing.settled(connection, id, queue, selection, found)
            total = found if selection.ids is None else len(set(selection.ids))
            values = {"id": id, "total": total, "found": found, "is_swept": doing.is_swept}
            row = (await connection.execute(_BEGIN, values)).one()
        return _shown(row)

    async def get(self, queue: str, id: UUID) -> Operation | None:
        async with self._postgres.transaction() as connection:
            row = (await connection.execute(_GET, {"queue": queue, "id": id})).one_or_none()
        return _shown(row) if row else None

    async def claim(self) -> Claimed | None:
        """Lease the oldest operation that is not finished and that nobody works on."""
        async with self._postgres.transaction() as connection:
            values = {"lease": LEASE, "states": [one.goes_on_as for one in ACTIONS.values()]}
            row = (await connection.execute(_CLAIM, values)).one_or_none()
        return Claimed(row.id, row.queue, row.action) if row else None

    async def step(self, claimed: Claimed) -> Step:
        """Do the next chunk, or note that none is left; return how far it is then."""
        action = ACTIONS[claimed.action]
        async with self._postgres.transaction(timeout=10) as connection:
            # Whoever had the lease before and is only slow waits here, and then finds the next chunk.
            await connection.execute(_LOCK, {"id": claimed.id})
            chunk = (await connection.execute(_NEXT, {"id": claimed.id})).one_or_none()
            if chunk is None:
                row = (await connection.execute(_FINISH, {"id": claimed.id, "is_swept": action.is_swept})).one_or_none()
                row = row or (await connection.execute(_GET, {"queue": claimed.queue, "id": claimed.id})).one()
                return Step(_shown(row))
            did = await action.do(connection, claimed.id, chunk.ids, chunk.generations)
            await connection.execute(_DROP, {"id": claimed.id, "number": chunk.number})
            note = {"id": claimed.id, "done": did.jobs, "skipped": len(chunk.ids) - did.jobs, "lease": LEASE}
            return Step(_shown((await connection.execute(_NOTE, note)).one()), did.jobs, did.ended)

    async def release(self, claimed: Claimed, wait_seconds: float) -> None:
        """Give it back, for any replica to take after so long."""
        async with self._postgres.transaction() as connection:
            await connection.execute(_RELEASE, {"id": claimed.id, "wait": wait_seconds})

    async def _settle(self, connection: AsyncConnection, id: UUID, search: Search, at: str, chunks: int) -> int:
        """Store the ids that are found, after so many chunks; return how many they are."""
        conditions = search.conditions
        values = {**search.values, "operation": id, "chunk": CHUNK, "page": self._page}
        found = 0
        while True:
            statement = text(_CHUNKS.format(conditions=conditions, at=at))
            first = {"first": chunks + found // CHUNK}
            last = (await connection.execute(statement, values | first)).one_or_none()
            found += last.jobs if last else 0
            if last is None or last.jobs < self._page:
                return found
            if "behind_id" not in values:
                conditions += f" AND ({at}, id) < (:behind_at, :behind_id)"
            values |= {"behind_at": last.at, "behind_id": last.id}


def _among(selection: Selection, search: Search) -> Search:
    if selection.ids is None:
        return search
    among = {"ids": sorted(set(selection.ids))}
    return Search(f"{search.conditions} AND id = ANY(CAST(:ids AS uuid[]))", {**search.values, **among})


def _shown(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id,
        total=row.total,
        done=row.done,
        skipped=row.skipped,
        state="done" if row.state == "done" else "running",
        queue=row.queue,
        action=row.action,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
