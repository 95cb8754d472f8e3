"""Cancels in the database: a job is ended at once where nobody else can have it, else it's noted that it is to be.

Nobody else can have a job that is in the outbox and that no replica ever took since it became due: then its lease ends when it
came, or when it is due, to the microsecond. One statement ends it and takes it out, so the relay never publishes it. Of a job
with a lease, also one that ran out, a message may be with the broker: a consumer ends that one, when it learns of the cancel
by the stream `leveret.control`. So it is told of a job that waits for its next attempt, too: a consumer that was killed between
its report and its ack leaves the last one's message, and one in a cut may run it still. What is wanted stays in the table
`cancels` until the job is final in that generation.

A job that the store has not seen gets a row for it, which the first report on the job takes over. If none comes for a day
there is no such message.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import State, merge_key
from leveret.wire import MOST
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.queues import KNOWN

UNSEEN_FOR = "1 day"
PAGE = 1_000  # cancels that are looked at in one transaction
MARGIN = "2 seconds"  # what a message tells of its job's beginning differs by less from what the store has

# Whom nobody else can have, and who was asked for and never seen.
_ALONE = f"""(published_at IS NULL AND lease_until = coalesce(due_at, created_at)
    OR type = '' AND state = 'queued' AND coalesce(cancel_requested_at < now() - interval '{UNSEEN_FOR}', false))"""
# What a rule stands for, whose consumers judge by what the message says: it must say the same as the row does.
_COVERED = f"""NOT over_amqp AND run_at IS NULL AND due_at IS NULL AND locked.generation = 1
    AND state IN ('accepted', 'queued', 'retrying') AND created_at >= coalesce(rule.since, created_at)
    AND created_at < rule.before - interval '{MARGIN}'"""
_CANCEL = text(
    f"""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:generations AS integer[]), CAST(:keys AS bigint[]))
            AS wanted (id, generation, key)
    ), locked AS (
        SELECT id, generation, queue, state, created_at, due_at, run_at, over_amqp,
            {_ALONE} AS alone
        FROM jobs WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE
    ), meant AS (
        SELECT locked.id, key, alone, CASE WHEN {_COVERED} THEN rule.id END AS rule
        FROM locked JOIN wanted USING (id, generation) LEFT JOIN cancel_rules AS rule ON rule.id = CAST(:rule AS uuid)
        WHERE state NOT IN ('succeeded', 'dead', 'cancelled')
    ), changed AS (
        UPDATE jobs SET cancel_requested_at = coalesce(cancel_requested_at, now()),
            state = CASE WHEN alone THEN 'cancelled' ELSE state END,
            merge_key = CASE WHEN alone THEN key ELSE merge_key END, tie = CASE WHEN alone THEN 0 ELSE tie END,
            published_at = CASE WHEN alone THEN now() ELSE published_at END,
            finished_at = CASE WHEN alone THEN greatest(now(), created_at) END,
            error = CASE WHEN NOT alone THEN error END, progress = CASE WHEN NOT alone THEN progress END
        FROM meant WHERE jobs.id = meant.id AND jobs.id = ANY(CAST(:ids AS uuid[]))
        RETURNING jobs.id, generation, queue, correlation_id, alone, rule,
            alone AND due_at IS NOT NULL AND (attempt > 0 OR over_amqp) AS had_message
    ), over AS (
        DELETE FROM cancels USING changed WHERE alone AND cancels.id = changed.id
    ), live AS (
        INSERT INTO cancels AS old (id, generation, queue, rule)
        SELECT id, generation, queue, rule FROM changed WHERE NOT alone
        ON CONFLICT (id, generation) DO UPDATE SET rule = NULL WHERE old.rule IS NOT NULL AND excluded.rule IS NULL
        RETURNING id, generation, queue, rule
    ), commands AS (
        INSERT INTO outbox (kind, queue, job, generation)
        SELECT 'cancel', queue, id, generation FROM live WHERE rule IS NULL
        UNION ALL SELECT 'cancel', queue, id, generation FROM changed WHERE had_message ORDER BY id
    ), replies AS (
        INSERT INTO outbox (kind, queue, job, generation, properties)
        SELECT 'reply', queue, id, generation, CAST(json_build_object(
            'reply_to', reply_to, 'correlation_id', coalesce(correlation_id, CAST(id AS text))) AS text)
        FROM changed JOIN payloads USING (id)
        WHERE alone AND reply_to IS NOT NULL AND payloads.id = ANY(CAST(:ids AS uuid[]))
    )
    SELECT id, queue, alone FROM changed
    """  # noqa: S608 - constants
)
_MAKE_UNSEEN = text(
    """
    INSERT INTO jobs (id, queue, type, state, merge_key, generation, created_at, over_amqp, published_at)
    SELECT id, queue, '', 'queued', CAST(:key AS bigint), 1, now(), true, now()
    FROM unnest(CAST(:ids AS uuid[]), CAST(:queues AS text[])) AS new (id, queue)
    ORDER BY id ON CONFLICT (id) DO NOTHING
    """
)
_OWNERS = text("SELECT id, queue FROM jobs WHERE id = ANY(CAST(:ids AS uuid[]))")
_ENDED = text(
    """
    DELETE FROM cancels USING unnest(CAST(:ids AS uuid[]), CAST(:generations AS integer[])) AS ended (id, generation)
    WHERE cancels.id = ended.id AND cancels.generation <= ended.generation
    """
)
_PAGE = text(
    f"""
    WITH page AS (
        SELECT * FROM cancels WHERE (id, generation) > (CAST(:id AS uuid), CAST(:generation AS integer))
        ORDER BY id, generation LIMIT {PAGE}
    )
    SELECT page.id, page.generation, page.queue, page.rule, page.requested_at, state, jobs.generation AS reached,
        {_ALONE} AS alone
    FROM page LEFT JOIN jobs ON jobs.id = page.id AND jobs.id = ANY(ARRAY(SELECT id FROM page))
    ORDER BY page.id, page.generation
    """  # noqa: S608 - constants
)
# A rule stands as long as its operation goes on and as anything is left that it stands for.
_RULES_OVER = text(
    """
    DELETE FROM cancel_rules WHERE NOT EXISTS (SELECT FROM cancels WHERE cancels.rule = cancel_rules.id)
        AND NOT EXISTS (SELECT FROM dead_letter_operations AS one WHERE one.id = cancel_rules.id AND one.state <> 'done')
    """
)
_RULES = text("SELECT queue, type, since, before FROM cancel_rules ORDER BY requested_at")
_LIVE = text(
    f"""
    SELECT name AS queue, coalesce(jobs, 0) AS jobs FROM queues
    LEFT JOIN (SELECT queue, count(*) AS jobs FROM cancels GROUP BY queue) AS live ON queue = name WHERE {KNOWN}
    """  # noqa: S608 - a constant
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job, and the one generation of it that is to be cancelled."""

    id: UUID
    generation: int
    queue: str


@dataclass(frozen=True, slots=True)
class Noted:
    """What became of cancels that were asked for."""

    ended_jobs: Mapping[UUID, str]  # that the database has ended, with their queues
    asked: int = 0  # how many a consumer is to end
    misplaced: frozenset[UUID] = frozenset()  # ids that belong to another queue's jobs

    @property
    def ended(self) -> Counter[str]:
        """How many jobs of each queue the database has ended."""
        return Counter(self.ended_jobs.values())


@dataclass(frozen=True, slots=True)
class Standing:
    """A cancel that is wanted still, or was."""

    wanted: Wanted
    named: bool  # and not one that a rule stands for
    requested_at: datetime
    state: str | None  # of its job; None: there is none
    reached: int  # the generation that its job is in
    alone: bool  # the database can end it


@dataclass(frozen=True, slots=True)
class Rule:
    queue: str
    type: str | None
    since: datetime | None
    before: datetime


class Cancels:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def ask(self, wanted: Sequence[Wanted], *, unseen: bool) -> Noted:
        """Commit cancels; `unseen`: also of jobs that the store has not seen. A job is there once at most.

        Nothing is done for a job that is final, or in another generation. Raises what Recording.record raises.
        """
        ordered = sorted(wanted, key=lambda one: one.id)
        ids = [one.id for one in ordered]
        async with self._postgres.transaction(timeout=10) as connection:
            if unseen:
                # What was redriven has a row; of a wrong generation one would hide all that is reported of the right one.
                first = [one for one in ordered if one.generation == 1]
                await connection.execute(
                    _MAKE_UNSEEN,
                    {
                        "ids": [one.id for one in first],
                        "queues": [one.queue for one in first],
                        "key": merge_key(State.ACCEPTED, 1) - 1,  # before all that can be reported of it
                    },
                )
            owners = {row.id: row.queue for row in await connection.execute(_OWNERS, {"ids": ids})}
            ours = [one for one in ordered if owners.get(one.id) == one.queue]
            misplaced = frozenset(one.id for one in ordered if owners.get(one.id, one.queue) != one.queue)
            noted = await cancel(connection, [(one.id, one.generation) for one in ours])
        return replace(noted, misplaced=misplaced)

    async def page(self, behind: Wanted | None) -> list[Standing]:
        """Return the next cancels in the order of their jobs, PAGE or those that are left."""
        values = {"id": behind.id if behind else UUID(int=0), "generation": behind.generation if behind else 0}
        async with self._postgres.transaction() as connection:
            rows = await connection.execute(_PAGE, values)
            return [
                Standing(
                    Wanted(row.id, row.generation, row.queue), row.rule is None, row.requested_at, row.state,
                    row.reached or 0, bool(row.alone),
                )
                for row in rows
            ]  # fmt: skip

    async def settle(self, over: Collection[Wanted], again: Sequence[Wanted]) -> Noted:
        """Drop cancels that are over; look at others again: the database ends those that it can, and names the rest."""
        async with self._postgres.transaction(timeout=10) as connection:
            # Rows of jobs are locked first, as the recorder does.
            noted = await cancel(connection, [(one.id, one.generation) for one in again])
            await ended(connection, [(one.id, one.generation) for one in over])
            return noted

    async def rules(self) -> list[Rule]:
        """Return the rules that stand, and forget the others."""
        async with self._postgres.transaction() as connection:
            await connection.execute(_RULES_OVER)
            return [Rule(row.queue, row.type, row.since, row.before) for row in await connection.execute(_RULES)]

    async def live(self) -> dict[str, int]:
        """Count the cancels that stand, of each known queue."""
        async with self._postgres.transaction() as connection:
            return {row.queue: row.jobs for row in await connection.execute(_LIVE)}


async def cancel(connection: AsyncConnection, jobs: Sequence[tuple[UUID, int]], rule: UUID | None = None) -> Noted:
    """Cancel jobs in these generations, of which no job is there twice; `rule` stands for those that it covers."""
    if not jobs:
        return Noted({})
    values = {
        "ids": [job for job, _ in jobs],
        "generations": [generation for _, generation in jobs],
        "keys": [merge_key(State.CANCELLED, generation) for _, generation in jobs],
        "rule": rule,
    }
    rows = (await connection.execute(_CANCEL, values)).all()
    done = {row.id: row.queue for row in rows if row.alone}
    return Noted(done, len(rows) - len(done))


async def ended(connection: AsyncConnection, jobs: Sequence[tuple[UUID, int]]) -> None:
    """Forget the cancels of jobs that are final in these generations."""
    if jobs:
        values = {"ids": [job for job, _ in jobs], "generations": [generation for _, generation in jobs]}
        await connection.execute(_ENDED, values)


def told_generation(generation: int) -> int:
    """Return a generation as messages carry it."""
    return min(max(generation, 1), MOST)
