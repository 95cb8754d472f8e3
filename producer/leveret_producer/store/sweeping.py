"""When a queue's old dead letters are swept, by whom, and what the store says of them.

A sweep follows the operations on a queue that are finished, at most once a minute, under a lease on their rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from leveret_producer.dead_letters.judging import Known
from leveret_producer.store.postgres import Postgres

LEASE = 60.0  # s; renewed while it goes on
EVERY = 60.0  # s between two sweeps of one queue

# Another consumer may have the queue for good. What a day of tries didn't sweep is left to it.
_SWEPT = text(
    """
    UPDATE dead_letter_operations
    SET lease_until = now() + CAST(:every AS double precision) * interval '1 second',
        swept_at = CASE WHEN :complete OR finished_at < now() - interval '1 day' THEN now() END
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
_RENEW = text(
    """
    UPDATE dead_letter_operations SET lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
    WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)
# One queue at a time. A row that is locked is being claimed: then there is nothing for us this time.
_CLAIM = text(
    """
    WITH next AS (
        SELECT queue FROM dead_letter_operations AS one
        WHERE swept_at IS NULL AND state = 'done' AND lease_until <= now() AND NOT EXISTS (
            SELECT 1 FROM dead_letter_operations AS other
            WHERE other.queue = one.queue AND (
                other.swept_at > now() - CAST(:every AS double precision) * interval '1 second'
                OR (other.swept_at IS NULL AND other.state = 'done' AND other.lease_until > now()))
        )
        ORDER BY created_at, id LIMIT 1
    ), locked AS (
        SELECT id FROM dead_letter_operations JOIN next USING (queue)
        WHERE swept_at IS NULL AND state = 'done' AND lease_until <= now()
        ORDER BY id FOR UPDATE OF dead_letter_operations
    )
    UPDATE dead_letter_operations SET lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
    FROM locked WHERE dead_letter_operations.id = locked.id
    RETURNING dead_letter_operations.id, queue
    """
)
_KNOWN = text(
    """
    SELECT id, queue, state, generation, purged_at IS NOT NULL AS purged,
           id IN (SELECT payloads.id FROM payloads WHERE payloads.id = ANY(CAST(:ids AS uuid[]))) AS has_payload
    FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))
    """
)


@dataclass(frozen=True, slots=True)
class Due:
    """A queue to be swept for some operations."""

    queue: str
    operations: tuple[UUID, ...]


class Sweeping:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim(self) -> Due | None:
        async with self._postgres.transaction() as connection:
            rows = (await connection.execute(_CLAIM, {"every": EVERY, "lease": LEASE})).all()
        return Due(rows[0].queue, tuple(row.id for row in rows)) if rows else None

    async def renew(self, due: Due) -> None:
        async with self._postgres.transaction() as connection:
            await connection.execute(_RENEW, {"ids": list(due.operations), "lease": LEASE})

    async def swept(self, due: Due, *, complete: bool) -> None:
        """Note that a queue was looked through; one that was not, wholly, has its next turn in a minute."""
        async with self._postgres.transaction() as connection:
            values = {"ids": list(due.operations), "every": EVERY, "complete": complete}
            await connection.execute(_SWEPT, values)

    async def known(self, ids: Sequence[UUID]) -> dict[UUID, Known]:
        async with self._postgres.transaction() as connection:
            rows = await connection.execute(_KNOWN, {"ids": list(ids)})
            return {row.id: Known(row.queue, row.state, row.generation, row.purged, row.has_payload) for row in rows}
