"""Jobs in the database: stored all or none, read one or by page."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, column, select, table, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret.jobs import Envelope, State, merge_key
from leveret_producer.store.postgres import Postgres
from leveret_producer.views import Attempt, Job, ListedJob, raw, shown_payload

_INSERT_JOBS = text(
    """
    INSERT INTO jobs (id, queue, type, state, merge_key, max_attempts, created_at, run_at, due_at, lease_until)
    SELECT id, :queue, type, state, :key, max_attempts, :created_at, run_at, due_at,
           coalesce(due_at, now() + CAST(:lease AS double precision) * interval '1 second')
    FROM unnest(CAST(:ids AS uuid[]), CAST(:types AS text[]), CAST(:states AS text[]),
                CAST(:max_attempts AS integer[]), CAST(:run_at AS timestamptz[]), CAST(:due_at AS timestamptz[]))
         AS new (id, type, state, max_attempts, run_at, due_at)
    """
)
_INSERT_PAYLOADS = text(
    """
    INSERT INTO payloads (id, body)
    SELECT id, body FROM unnest(CAST(:ids AS uuid[]), CAST(:bodies AS text[])) AS new (id, body)
    """
)
_ATTEMPTS = text(
    """
    SELECT job_id, attempt, consumer, started_at, finished_at, outcome, error FROM attempts
    WHERE job_id = ANY(CAST(:ids AS uuid[])) ORDER BY job_id, generation, attempt, delivery
    """
)
_COLUMNS = (
    "id",
    "queue",
    "type",
    "state",
    "generation",
    "attempt",
    "max_attempts",
    "created_at",
    "run_at",
    "started_at",
    "finished_at",
    "result",
    "error",
    "progress",
    "correlation_id",
)
_jobs = table("jobs", *(column(name) for name in _COLUMNS))
_payloads = table("payloads", column("id"), column("body"), column("raw"))


@dataclass(frozen=True, slots=True)
class NewJob:
    job: Envelope
    max_attempts: int | None
    run_at: datetime | None = None  # as it was asked for
    due_at: datetime | None = None  # the same, if it is ahead

    @property
    def state(self) -> State:
        return State.ACCEPTED if self.due_at is None else State.SCHEDULED


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of the list ends: the next one begins behind it."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which jobs a list is to hold; None means any."""

    queue: str | None = None
    state: State | None = None
    type: str | None = None
    behind: Place | None = None
    limit: int = 50


class Jobs:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def insert(self, new: Sequence[NewJob], created_at: datetime, lease_seconds: float) -> None:
        """Store jobs of one queue in one transaction; those for now are leased to this replica for so long."""
        ids = [one.job.id for one in new]
        bodies = await asyncio.to_thread(lambda: [one.job.body.decode() for one in new])
        async with self._postgres.transaction(timeout=10) as connection:
            await connection.execute(
                _INSERT_JOBS,
                {
                    "ids": ids,
                    "types": [one.job.type for one in new],
                    "states": [str(one.state) for one in new],
                    "max_attempts": [one.max_attempts for one in new],
                    "run_at": [one.run_at for one in new],
                    "due_at": [one.due_at for one in new],
                    "queue": new[0].job.queue,
                    "key": merge_key(State.ACCEPTED, generation=1),
                    "created_at": created_at,
                    "lease": lease_seconds,
                },
            )
            await connection.execute(_INSERT_PAYLOADS, {"ids": ids, "bodies": bodies})

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
            attempts = await read_attempts(connection, [id])
        return _job(row, attempts.get(id, []))

    async def page(self, wanted: Wanted) -> list[ListedJob]:
        """Return jobs, newest first, without payloads and results."""
        async with self._postgres.transaction() as connection:
            rows = (await connection.execute(_listing(wanted))).all()
            attempts = await read_attempts(connection, [row.id for row in rows])
        return [ListedJob(**_shared(row, attempts.get(row.id, []))) for row in rows]


def _listing(wanted: Wanted) -> Select[Any]:
    place: ColumnElement[Any] = tuple_(_jobs.c.created_at, _jobs.c.id)
    columns = [one for one in _jobs.c if one.name != "result"]
    query = select(*columns)
    for name, value in (("queue", wanted.queue), ("state", wanted.state), ("type", wanted.type)):
        if value is not None:
            query = query.where(_jobs.c[name] == str(value))
    if wanted.behind is not None:
        query = query.where(place < (wanted.behind.created_at, wanted.behind.id))
    return query.order_by(_jobs.c.created_at.desc(), _jobs.c.id.desc()).limit(wanted.limit)


async def read_attempts(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, list[Attempt]]:
    found: dict[UUID, list[Attempt]] = {}
    if not ids:
        return found
    for row in await connection.execute(_ATTEMPTS, {"ids": list(ids)}):
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
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "correlation_id": row.correlation_id,
    }
