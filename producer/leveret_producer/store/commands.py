"""The table `outbox`: what must reach the broker beside jobs, from the commit that wants it until the broker has it.

A row is leased while it's published, as a job's is, and deleted once that is confirmed. Commands that are published twice do
no harm; a reply may be, too, as every reply may.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from leveret_producer.store import left_leases
from leveret_producer.store.cancels import Rule
from leveret_producer.store.outbox import LEASE
from leveret_producer.store.postgres import Postgres

CANCEL, RULE, REPLY = "cancel", "rule", "reply"

_TAKE = text(
    """
    WITH taken AS (
        UPDATE outbox SET lease_until = now() + CAST(:lease AS double precision) * interval '1 second'
        WHERE number = ANY(ARRAY(
            SELECT number FROM outbox WHERE lease_until <= now() AND kind = ANY(CAST(:kinds AS text[]))
            ORDER BY number LIMIT :most FOR UPDATE SKIP LOCKED
        ))
        RETURNING number, kind, queue, job, generation, properties
    )
    SELECT taken.*, type, since, before
    FROM taken LEFT JOIN cancel_rules ON kind = 'rule' AND id = job ORDER BY number
    """
)
_DONE = text("DELETE FROM outbox WHERE number = ANY(CAST(:numbers AS bigint[]))")


@dataclass(frozen=True, slots=True)
class Command:
    number: int
    kind: str
    queue: str
    job: UUID
    generation: int | None
    properties: str | None = None  # JSON
    rule: Rule | None = None  # of that kind, if it stands still


class Commands:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def take(self, kinds: Sequence[str], most: int) -> list[Command]:
        """Lease rows that nobody publishes, the oldest first."""
        async with self._postgres.transaction() as connection:
            rows = (await connection.execute(_TAKE, {"kinds": list(kinds), "most": most, "lease": LEASE})).all()
            if rows:
                await left_leases.note(connection, LEASE)
            return [
                Command(
                    row.number, row.kind, row.queue, row.job, row.generation, row.properties,
                    Rule(row.queue, row.type, row.since, row.before) if row.before else None,
                )
                for row in rows
            ]  # fmt: skip

    async def done(self, commands: Sequence[Command]) -> None:
        """Delete what the broker has."""
        async with self._postgres.transaction() as connection:
            await connection.execute(_DONE, {"numbers": [one.number for one in commands]})
