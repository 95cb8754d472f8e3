"""Jobs in the database: stored all or none, read one or by page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, column, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import Envelope, State, merge_key
from leveret_producer.store.keys import CLAIM, Key, KeyTaken, claim_values
from leveret_producer.store.listing import COLUMNS, LIST_TIMEOUT, SHORT_ERROR, Wanted, listing
from leveret_producer.store.postgres import DataRefused, Postgres, TryAgain
from leveret_producer.views import NOT_ASKED_FOR, Attempt, Job, ListedJob, raw, shown_payload

# One round trip, of which each costs more than what it does. Without a lease the row's ends when the job came: so it shows
# that no replica ever took it, unless a clock is so far off that it would be taken too late, or not be looked for.
_STORE = """
    WITH {claim} lease AS (
        SELECT CASE
            WHEN CAST(:lease AS double precision) = 0 AND now() - CAST(:created_at AS timestamptz)
                BETWEEN interval '-1 second' AND interval '5 seconds' THEN CAST(:created_at AS timestamptz)
            ELSE now() + CAST(:lease AS double precision) * interval '1 second' END AS until {claimed}
    ), stored AS (
        INSERT INTO jobs (id, queue, type, state, merge_key, max_attempts, created_at, run_at, due_at, lease_until,
            deadline)
        SELECT id, :queue, type, state, :key, max_attempts, :created_at, run_at, due_at, coalesce(due_at, lease.until),
            deadline
        FROM unnest(CAST(:ids AS uuid[]), CAST(:types AS text[]), CAST(:states AS text[]),
                    CAST(:max_attempts AS integer[]), CAST(:run_at AS timestamptz[]), CAST(:due_at AS timestamptz[]),
                    CAST(:deadlines AS timestamptz[]))
             AS new (id, type, state, max_attempts, run_at, due_at, deadline), lease {unless_there}
    ), kept AS (
        INSERT INTO payloads (id, body)
        SELECT id, body FROM unnest(CAST(:ids AS uuid[]), CAST(:bodies AS text[])) AS new (id, body), lease {if_stored}
    )
    SELECT until{and_stored} FROM lease
    """
# Of jobs that bring their ids. A row that is there only since somebody asked for a cancel becomes the job, which ends as it.
_UNLESS_THERE = """
        ORDER BY new.id ON CONFLICT (id) DO UPDATE SET type = excluded.type, state = excluded.state,
            merge_key = excluded.merge_key, max_attempts = excluded.max_attempts, created_at = excluded.created_at,
            run_at = excluded.run_at, due_at = excluded.due_at, lease_until = excluded.lease_until,
            deadline = excluded.deadline, over_amqp = false, published_at = NULL
        WHERE jobs.type = '' AND jobs.state = 'queued' AND jobs.queue = excluded.queue
        RETURNING id"""
_WITHOUT_IDS = {"unless_there": "", "if_stored": "", "and_stored": ""}
_WITH_IDS = {
    "unless_there": _UNLESS_THERE,
    "if_stored": "WHERE id IN (SELECT id FROM stored) ON CONFLICT DO NOTHING",
    "and_stored": ", ARRAY(SELECT id FROM stored) AS stored",
}
_WITHOUT_KEY, _WITH_KEY = {"claim": "", "claimed": ""}, {"claim": CLAIM, "claimed": "FROM claimed"}
_INSERT = {
    (keyed, ids): text(_STORE.format(**(_WITH_KEY if keyed else _WITHOUT_KEY), **(_WITH_IDS if ids else _WITHOUT_IDS)))
    for keyed in (False, True)
    for ids in (False, True)
}
_THERE = text(
    """
    SELECT id, queue, state FROM jobs
    WHERE id = ANY(CAST(:ids AS uuid[])) AND (type <> '' OR state <> 'queued' OR queue <> :queue)
    """
)
AT_ONCE = 1_000  # jobs in a statement: the driver writes all its values in one turn of the loop
MOST_ATTEMPTS, MOST_LISTED_ATTEMPTS = 1_000, 20  # of a job: alone, and in a list
_ATTEMPTS = """
    SELECT last.* FROM unnest(CAST(:ids AS uuid[])) AS job (id), LATERAL (
        SELECT job_id, generation, attempt, delivery, consumer, started_at, finished_at, outcome, {error}
        FROM attempts WHERE job_id = job.id ORDER BY generation DESC, attempt DESC, delivery DESC LIMIT :most
    ) AS last
    ORDER BY job_id, generation, attempt, delivery
"""
_WHOLE_ATTEMPTS = text(_ATTEMPTS.format(error="error"))
_LISTED_ATTEMPTS = text(_ATTEMPTS.format(error=SHORT_ERROR))
_HAS_SOME = text("SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue)")
_jobs = table("jobs", *(column(name) for name in COLUMNS))
_payloads = table("payloads", column("id"), column("body"), column("raw"))


@dataclass(frozen=True, slots=True)
class NewJob:
    job: Envelope
    max_attempts: int | None
    run_at: datetime | None = None  # as it was asked for
    due_at: datetime | None = None  # the same, if it is ahead
    there: State | None = None  # it was stored before, and is in this state now

    @property
    def state(self) -> State:
        return self.there or (State.ACCEPTED if self.due_at is None else State.SCHEDULED)


@dataclass(frozen=True, slots=True)
class Inserted:
    until: datetime  # when the lease ends, by the database's clock
    there: Mapping[UUID, State]  # not stored, as they were there already


class OfOtherQueues(DataRefused):
    """Ids that jobs bring are those of other queues' jobs; nothing was stored."""

    def __init__(self, queues: dict[UUID, str]) -> None:
        super().__init__(f"jobs of the queues {', '.join(sorted(set(queues.values())))} have the ids")
        self.queues = queues


def _columns(new: Sequence[NewJob]) -> dict[str, list[Any] | None]:
    return {
        "ids": [one.job.id for one in new],
        "bodies": [one.job.body.decode() for one in new],  # a thread would need Python's lock for it
        "types": [one.job.type for one in new],
        "states": [str(one.state) for one in new],
        "max_attempts": _some([one.max_attempts for one in new]),
        "run_at": _some([one.run_at for one in new]),
        "due_at": _some([one.due_at for one in new]),
        "deadlines": _some([one.job.deadline for one in new]),
    }


def _some(column: list[Any]) -> list[Any] | None:
    """None where all are: unnest makes that NULLs, and the driver looks at each element of a list."""
    return column if any(one is not None for one in column) else None


class Jobs:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def insert(
        self,
        new: Sequence[NewJob],
        created_at: datetime,
        lease_seconds: float,
        key: Key | None = None,
        warning: str | None = None,
        *,
        own_ids: bool = False,
    ) -> Inserted:
        """Store jobs of one queue, all or none; those for now are leased to this replica for so long.

        With a key, and with the warning that is answered, they are stored once: raise KeyTaken where it is taken. Where jobs
        bring their ids, those that are there are left as they are; raise OfOtherQueues.
        """
        ids = [one.job.id for one in new]
        fixed: dict[str, Any] = {
            "queue": new[0].job.queue,
            "key": merge_key(State.ACCEPTED, generation=1),
            "created_at": created_at,
            "lease": lease_seconds,
        }
        if own_ids:  # several who store the same wait for each other in the same order
            new = sorted(new, key=lambda one: one.job.id)
        at_once = len(new) <= AT_ONCE and not own_ids
        row: Row[Any] | None = None
        missed: list[UUID] = []
        async with (self._postgres.statement if at_once else self._postgres.transaction)(timeout=10) as connection:
            for first in range(0, len(new), AT_ONCE):
                keyed, values = key is not None and not first, fixed | _columns(new[first : first + AT_ONCE])
                if key is not None and not first:
                    values |= claim_values(key, ids, warning)
                row = (await connection.execute(_INSERT[keyed, own_ids], values)).one_or_none()
                if row is None:
                    raise KeyTaken
                if own_ids:
                    missed += set(values["ids"]).difference(row.stored)
            there = await _there(connection, new[0].job.queue, missed) if missed else {}
            if len(there) < len(missed):
                raise TryAgain("jobs that were there are deleted at this moment")
        assert row is not None, "there is at least one job"
        return Inserted(row.until, there)

    async def there(self, queue: str, ids: Sequence[UUID]) -> dict[UUID, State]:
        """Return the states of those that are stored already; raise OfOtherQueues."""
        async with self._postgres.statement() as connection:
            return await _there(connection, queue, ids)

    async def get(self, id: UUID) -> Job | None:
        query = (
            select(_jobs, _payloads.c.body.label("payload"), _payloads.c.raw)
            .select_from(_jobs.outerjoin(_payloads, _payloads.c.id == _jobs.c.id))
            .where(_jobs.c.id == id)
        )
        async with self._postgres.transaction() as connection:
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                return None
            attempts = await read_attempts(connection, id)
        return _job(row, attempts)

    async def had_by(self, queue: str) -> bool:
        """Say whether a queue has, or had, jobs; it may have no JobQueue any more."""
        async with self._postgres.transaction() as connection:
            return bool((await connection.execute(_HAS_SOME, {"queue": queue})).scalar_one())

    async def page(self, wanted: Wanted) -> list[ListedJob]:
        """Return jobs, newest first, without payloads, results and tracebacks, and of each its last attempts."""
        async with self._postgres.transaction() as connection:
            await connection.execute(LIST_TIMEOUT)
            statement, values = listing(wanted)
            rows = (await connection.execute(text(statement), values)).all()
            attempts = await _read_attempts(
                connection, _LISTED_ATTEMPTS, [row.id for row in rows], MOST_LISTED_ATTEMPTS
            )
        return [ListedJob(**_shared(row, attempts.get(row.id, []))) for row in rows]


async def _there(connection: AsyncConnection, queue: str, ids: Sequence[UUID]) -> dict[UUID, State]:
    rows = (await connection.execute(_THERE, {"ids": list(ids), "queue": queue})).all()
    if others := {row.id: row.queue for row in rows if row.queue != queue}:
        raise OfOtherQueues(others)
    return {row.id: State(row.state) for row in rows}


async def read_attempts(connection: AsyncConnection, id: UUID) -> list[Attempt]:
    """Return the attempts of a job, in order; of very many the last."""
    return (await _read_attempts(connection, _WHOLE_ATTEMPTS, [id], MOST_ATTEMPTS)).get(id, [])


async def _read_attempts(
    connection: AsyncConnection, query: TextClause, ids: Sequence[UUID], most: int
) -> dict[UUID, list[Attempt]]:
    found: dict[UUID, list[Attempt]] = {}
    if not ids:
        return found
    for row in await connection.execute(query, {"ids": list(ids), "most": most}):
        attempt = Attempt(row.attempt, row.consumer, row.started_at, row.finished_at, row.outcome, raw(row.error))
        found.setdefault(row.job_id, []).append(attempt)
    return found


def _job(row: Row[Any], attempts: list[Attempt]) -> Job:
    return Job(**_shared(row, attempts), payload=shown_payload(row.payload, row.raw), result=raw(row.result))


def _shared(row: Row[Any], attempts: list[Attempt]) -> dict[str, Any]:
    """What a job shows alone and in a list."""
    return {
        "id": row.id,
        "queue": row.queue,
        "type": row.type,
        "state": State(row.state),
        "error": raw(row.error),
        "progress": raw(row.progress),
        "attempt": row.attempt,
        "max_attempts": row.max_attempts,
        "generation": row.generation,
        "attempts": attempts,
        "created_at": row.created_at,
        "run_at": row.run_at,
        "deadline": row.deadline,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "correlation_id": row.correlation_id,
        "cancel_requested_at": row.cancel_requested_at,
        **NOT_ASKED_FOR,
    }
