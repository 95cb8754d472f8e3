"""Cancel many jobs of a queue: a chunk at a time, and beyond 10,000 by a rule that consumers judge jobs by, beside that.

A rule is told at once and stops what waits; the rows are marked after it. It stands for those jobs only of which a message
says what the row does: its beginning, within seconds. All others are named to the consumers one by one.
"""

# ruff: noqa: S608 - what the statements are made of is our own

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import FINAL, State
from leveret_producer.cancels.selection import JobSelection
from leveret_producer.store.cancels import MARGIN, cancel
from leveret_producer.store.operation import Did, Search

MOST_NAMED = 10_000
STATES = tuple(str(state) for state in State if state not in FINAL)

# A consumer knows whole seconds, and judges by what a message says: of a job that was put off that is when it was due. One
# that began before `since` and was due after it would be cancelled by a rule, and nobody asked for that.
_RULE = text(
    f"""
    WITH rule AS (
        INSERT INTO cancel_rules (id, queue, type, since, before)
        SELECT :id, :queue, CAST(:type AS text), since, before FROM (SELECT
            date_trunc('second', CAST(:since AS timestamptz) + interval '1 second' + interval '{MARGIN}') AS since,
            date_trunc('second', least(CAST(:until AS timestamptz), now() - interval '{MARGIN}')) AS before) AS times
        WHERE (since IS NULL OR since < before) AND NOT EXISTS (
            SELECT FROM jobs WHERE queue = :queue AND state = ANY(CAST(:states AS text[]))
                AND created_at < CAST(:since AS timestamptz) AND run_at >= CAST(:since AS timestamptz)
        )
        RETURNING id, queue
    )
    INSERT INTO outbox (kind, queue, job) SELECT 'rule', queue, id FROM rule
    """
)


@dataclass(frozen=True, slots=True)
class CancelJobs:
    newest_by: str = "created_at"
    goes_on_as: str = "cancelling"
    is_swept: bool = False

    def searches(self, queue: str, selection: JobSelection) -> list[Search]:
        """By state: an index finds these, and passes over all that have ended."""
        wanted, conditions = selection.wanted, "queue = :queue AND state = :state"
        values: dict[str, Any] = {"queue": queue}
        for name, condition in (
            ("type", "type = :type"),
            ("since", "created_at >= :since"),
            ("until", "created_at < :until"),
        ):
            if (value := getattr(wanted, name)) is not None:
                conditions += f" AND {condition}"
                values[name] = value
        states = STATES if wanted.state is None else (str(wanted.state),)
        return [Search(conditions, values | {"state": state}) for state in states]

    async def settled(
        self, connection: AsyncConnection, id: UUID, queue: str, selection: JobSelection, found: int
    ) -> None:
        wanted = selection.wanted
        if found > MOST_NAMED and selection.ids is None and wanted.state is None:
            values = {"type": wanted.type, "since": wanted.since, "until": wanted.until, "states": list(STATES)}
            await connection.execute(_RULE, {"id": id, "queue": queue, **values})

    async def do(
        self, connection: AsyncConnection, operation: UUID, ids: Sequence[UUID], generations: Sequence[int]
    ) -> Did:
        noted = await cancel(connection, list(zip(ids, generations, strict=True)), rule=operation)
        return Did(len(noted.ended_jobs) + noted.asked, noted.ended)


CANCEL = CancelJobs()
