"""What became of many jobs, read in parts: each is so many bytes of results and errors, however many jobs that are.

A thousand results may be a quarter of a gigabyte. How long each is the database tells without reading it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from leveret.jobs import State
from leveret_producer.outcomes import Outcome
from leveret_producer.store.postgres import Postgres
from leveret_producer.views import raw

MOST_BYTES = 1 << 20  # of a part, and one job more

# The ids are named twice: from an array the planner knows which days they are of, and of a join it doesn't.
_PART = text(
    """
    SELECT id, state, result, error FROM (
        SELECT jobs.id, state, result, error, place,
            sum(coalesce(octet_length(result), 0) + coalesce(octet_length(error), 0))
                OVER (ORDER BY place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
        FROM jobs JOIN unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS asked (id, place) ON asked.id = jobs.id
        WHERE jobs.id = ANY(CAST(:ids AS uuid[]))
    ) AS found
    WHERE coalesce(before, 0) < :most ORDER BY place
    """
)


@dataclass(frozen=True, slots=True)
class Part:
    jobs: list[Outcome]
    rest: Sequence[UUID]  # ids that are still to be looked for


class Outcomes:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def part(self, ids: Sequence[UUID], most: int = MOST_BYTES) -> Part:
        """Return the first of these jobs, in this order; ids that nobody knows are passed over. No id may be there twice."""
        async with self._postgres.transaction() as connection:
            rows = (await connection.execute(_PART, {"ids": list(ids), "most": most})).all()
        jobs = [Outcome(row.id, State(row.state), raw(row.result), raw(row.error)) for row in rows]
        rest = ids[ids.index(jobs[-1].id) + 1 :] if jobs else ()
        return Part(jobs, rest)
