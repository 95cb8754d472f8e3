"""Operations on many dead letters: rows, each with the chunks that are left to do of it.

What an operation is about is settled when it is asked for: the ids, each with the generation that died. So what dies
later is left alone, and whoever carries on with it, after a kill too, does the same. A chunk is done in one transaction
with the note that it is done.
"""

# ruff: noqa: S608 - what the statements are made of is our own

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import State, merge_key
from leveret.wire import MOST
from leveret_producer.dead_letters.selection import DeadLetterSelection
from leveret_producer.store.dead_letters import matching
from leveret_producer.store.postgres import Postgres
from leveret_producer.views import DeadLetterOperation

CHUNK = 500  # ids
PAGE = 100 * CHUNK  # a multiple: only the last page has a chunk that is not full
SETTLE_TIMEOUT = 60.0  # s; it takes about 1 s for 100,000
LEASE = 10.0  # s; more than a chunk takes

_SHOWN = "id, queue, action, state, total, done, skipped, created_at, finished_at"
_CREATE = text(
    """
    INSERT INTO dead_letter_operations (id, queue, action, selection, state, total, created_at)
    VALUES (:id, :queue, :action, :selection, 'running', 0, now())
    """
)
# A page of them at a time, those that died last first: no statement takes long, however many there are.
_CHUNKS = """
    WITH found AS MATERIALIZED (
        SELECT id, generation, finished_at FROM jobs WHERE {conditions} ORDER BY finished_at DESC, id DESC LIMIT :page
    ), numbered AS (
        SELECT id, generation, :first + (row_number() OVER (ORDER BY id) - 1) / :chunk AS number FROM found
    ), kept AS (
        INSERT INTO dead_letter_chunks (operation, number, ids, generations)
        SELECT :operation, number, array_agg(id ORDER BY id), array_agg(generation ORDER BY id)
        FROM numbered GROUP BY number
    )
    SELECT finished_at, id, (SELECT count(*) FROM found) AS jobs FROM found ORDER BY finished_at, id LIMIT 1
"""
# One that nothing is left to do of is done; where it was about nothing, there is nothing to sweep either.
_BEGIN = text(
    f"""
    UPDATE dead_letter_operations SET total = CAST(:total AS bigint), skipped = CAST(:total AS bigint) - CAST(:found AS bigint),
        state = CASE WHEN :found = 0 THEN 'done' ELSE state END,
        finished_at = CASE WHEN :found = 0 THEN now() END,
        swept_at = CASE WHEN :total = 0 THEN now() END
    WHERE id = :id RETURNING {_SHOWN}
    """
)
_GET = text(f"SELECT {_SHOWN} FROM dead_letter_operations WHERE id = :id AND queue = :queue")
_CLAIM = text(
    """
    UPDATE dead_letter_operations SET lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
    WHERE id = (
        SELECT id FROM dead_letter_operations
        WHERE swept_at IS NULL AND state = 'running' AND lease_until <= now()
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
    UPDATE dead_letter_operations SET state = 'done', finished_at = now(), lease_until = now()
    WHERE id = :id AND state = 'running' RETURNING {_SHOWN}
    """
)
_RELEASE = text(
    """
    UPDATE dead_letter_operations SET lease_until = now() + CAST(:wait AS double precision) * interval '1 second'
    WHERE id = :id
    """
)
# Rows are locked in the order of their ids, as the recorder does, so that neither waits for the other in a circle. They
# are found by their ids alone, and looked at when they are locked: else the index of dead letters might be read through.
_LOCKED = """
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS integer[]), CAST(:keys AS bigint[]))
            AS wanted (id, generation, key)
    ), locked AS (
        SELECT jobs.id, state, purged_at, generation FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
        ORDER BY id FOR UPDATE
    ), meant AS (
        SELECT id, key FROM locked JOIN wanted USING (id, generation) WHERE state = 'dead' AND purged_at IS NULL
    )
"""
# It waits since now, not since it was submitted: that is its due time, as a retry's is. Somebody wants it run whatever the
# hour, so it has no deadline any more: by one that has passed it would be dead at once.
_REDRIVE = text(
    f"""
    {_LOCKED}
    UPDATE jobs SET generation = generation + 1, state = 'accepted', merge_key = key, tie = 0, attempt = 0,
        next_attempt = 1, returned = 0, published_at = NULL, due_at = now(), lease_until = now(), started_at = NULL,
        finished_at = NULL, result = NULL, error = NULL, progress = NULL, dead_reason = NULL, deadline = NULL,
        cancel_requested_at = NULL
    FROM meant WHERE jobs.id = meant.id AND jobs.id = ANY(CAST(:ids AS uuid[])) AND jobs.generation < :most
        AND jobs.id IN (SELECT payloads.id FROM payloads WHERE payloads.id = ANY(CAST(:ids AS uuid[])))
    RETURNING jobs.id
    """
)
_PURGE = text(
    f"""
    {_LOCKED}
    UPDATE jobs SET purged_at = now() FROM meant WHERE jobs.id = meant.id AND jobs.id = ANY(CAST(:ids AS uuid[]))
    RETURNING jobs.id
    """
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """An operation that this replica has for as long as it carries on with it."""

    id: UUID
    queue: str
    redrives: bool


@dataclass(frozen=True, slots=True)
class Step:
    """How far an operation is, and how many jobs its last chunk changed."""

    operation: DeadLetterOperation
    jobs: int = 0


class Operations:
    def __init__(self, postgres: Postgres, page: int = PAGE) -> None:
        self._postgres = postgres
        self._page = page

    async def create(self, id: UUID, queue: str, action: str, selection: DeadLetterSelection) -> DeadLetterOperation:
        """Store what is to be done, whole or not at all, and return it."""
        stored = msgspec.json.encode(selection).decode()
        async with self._postgres.transaction(timeout=SETTLE_TIMEOUT) as connection:
            await connection.execute(_CREATE, {"id": id, "queue": queue, "action": action, "selection": stored})
            found = await self._settle(connection, id, queue, selection)
            total = found if selection.ids is None else len(set(selection.ids))
            row = (await connection.execute(_BEGIN, {"id": id, "total": total, "found": found})).one()
        return _shown(row)

    async def get(self, queue: str, id: UUID) -> DeadLetterOperation | None:
        async with self._postgres.transaction() as connection:
            row = (await connection.execute(_GET, {"queue": queue, "id": id})).one_or_none()
        return _shown(row) if row else None

    async def claim(self) -> Claimed | None:
        """Lease the oldest operation that is not finished and that nobody works on."""
        async with self._postgres.transaction() as connection:
            row = (await connection.execute(_CLAIM, {"lease": LEASE})).one_or_none()
        return Claimed(row.id, row.queue, row.action == "redrive") if row else None

    async def step(self, claimed: Claimed) -> Step:
        """Do the next chunk, or note that none is left; return how far it is then."""
        async with self._postgres.transaction(timeout=10) as connection:
            # Whoever had the lease before and is only slow waits here, and then finds the next chunk.
            await connection.execute(_LOCK, {"id": claimed.id})
            chunk = (await connection.execute(_NEXT, {"id": claimed.id})).one_or_none()
            if chunk is None:
                row = (await connection.execute(_FINISH, {"id": claimed.id})).one_or_none()
                row = row or (await connection.execute(_GET, {"queue": claimed.queue, "id": claimed.id})).one()
                return Step(_shown(row))
            done = await _do(connection, claimed, chunk.ids, chunk.generations)
            await connection.execute(_DROP, {"id": claimed.id, "number": chunk.number})
            note = {"id": claimed.id, "done": done, "skipped": len(chunk.ids) - done, "lease": LEASE}
            return Step(_shown((await connection.execute(_NOTE, note)).one()), done)

    async def release(self, claimed: Claimed, wait_seconds: float) -> None:
        """Give it back, for any replica to take after so long."""
        async with self._postgres.transaction() as connection:
            await connection.execute(_RELEASE, {"id": claimed.id, "wait": wait_seconds})

    async def _settle(self, connection: AsyncConnection, id: UUID, queue: str, selection: DeadLetterSelection) -> int:
        """Store the ids that it is about, and return how many they are."""
        conditions, values = matching(queue, selection.wanted)
        if selection.ids is not None:
            conditions += " AND id = ANY(CAST(:ids AS uuid[]))"
            values["ids"] = sorted(set(selection.ids))
        values |= {"operation": id, "chunk": CHUNK, "page": self._page}
        found = 0
        while True:
            statement = text(_CHUNKS.format(conditions=conditions))
            last = (await connection.execute(statement, values | {"first": found // CHUNK})).one_or_none()
            found += last.jobs if last else 0
            if last is None or last.jobs < self._page:
                return found
            if "behind_id" not in values:
                conditions += " AND (finished_at, id) < (:behind_at, :behind_id)"
            values |= {"behind_at": last.finished_at, "behind_id": last.id}


async def _do(connection: AsyncConnection, claimed: Claimed, ids: Sequence[UUID], generations: Sequence[int]) -> int:
    keys = [merge_key(State.ACCEPTED, generation + 1) for generation in generations]
    values: dict[str, Any] = {"ids": list(ids), "generations": list(generations), "keys": keys}
    if claimed.redrives:
        return len((await connection.execute(_REDRIVE, values | {"most": MOST})).all())
    return len((await connection.execute(_PURGE, values)).all())


def _shown(row: Row[Any]) -> DeadLetterOperation:
    return DeadLetterOperation(
        id=row.id,
        total=row.total,
        done=row.done,
        skipped=row.skipped,
        state=row.state,
        queue=row.queue,
        action=row.action,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
