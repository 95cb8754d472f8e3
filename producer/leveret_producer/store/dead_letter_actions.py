"""What is done with many dead letters: they are redriven, or purged."""

# ruff: noqa: S608 - what the statements are made of is our own

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import State, merge_key
from leveret.wire import MOST
from leveret_producer.dead_letters.selection import DeadLetterSelection
from leveret_producer.store.dead_letters import matching
from leveret_producer.store.operation import Did, Search

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
class OnDeadLetters:
    """One of the two; the queue's old messages are swept after it."""

    statement: TextClause
    newest_by: str = "finished_at"
    goes_on_as: str = "running"
    is_swept: bool = True

    def searches(self, queue: str, selection: DeadLetterSelection) -> list[Search]:
        conditions, values = matching(queue, selection.wanted)
        return [Search(conditions, values)]

    async def settled(
        self, connection: AsyncConnection, id: UUID, queue: str, selection: DeadLetterSelection, found: int
    ) -> None:
        """Nothing more is to be stored of it."""

    async def do(
        self, connection: AsyncConnection, operation: UUID, ids: Sequence[UUID], generations: Sequence[int]
    ) -> Did:
        keys = [merge_key(State.ACCEPTED, generation + 1) for generation in generations]
        values: dict[str, Any] = {"ids": list(ids), "generations": list(generations), "keys": keys, "most": MOST}
        return Did(len((await connection.execute(self.statement, values)).all()))


REDRIVE, PURGE = OnDeadLetters(_REDRIVE), OnDeadLetters(_PURGE)
