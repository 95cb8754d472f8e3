"""Which queues' old dead letters are to be swept, and what the store says of them.

A sweep follows the operations on a queue that are finished, one replica at a time and at most once a minute.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from leveret_producer.dead_letters.judging import Known
from leveret_producer.store.postgres import Postgres

EVERY = 60.0  # s between two sweeps of one queue

# Another consumer may have the queue for good. What a day of tries didn't sweep is left to it.
_SWEPT = text(
    """
    UPDATE dead_letter_operations SET swept_at = now()
    WHERE id = ANY(CAST(:ids AS uuid[])) AND (:complete OR finished_at < now() - interval '1 day')
    """
)
_DUE = text(
    """
    SELECT queue, array_agg(id) AS operations FROM dead_letter_operations
    WHERE swept_at IS NULL AND state = 'done' GROUP BY queue ORDER BY min(created_at)
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

    async def due(self) -> list[Due]:
        async with self._postgres.transaction() as connection:
            return [Due(row.queue, tuple(row.operations)) for row in await connection.execute(_DUE)]

    async def swept(self, due: Due, *, complete: bool) -> None:
        """Note that a queue was looked through; one that was not, wholly, has another turn."""
        async with self._postgres.transaction() as connection:
            await connection.execute(_SWEPT, {"ids": list(due.operations), "complete": complete})

    async def known(self, ids: Sequence[UUID]) -> dict[UUID, Known]:
        async with self._postgres.transaction() as connection:
            rows = await connection.execute(_KNOWN, {"ids": list(ids)})
            return {row.id: Known(row.queue, row.state, row.generation, row.purged, row.has_payload) for row in rows}
