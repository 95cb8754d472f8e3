"""Dead letters in the database: jobs that are dead and not purged, read one or by page.

They are read here and never from the queue on the broker, so looking at them disturbs nobody.
"""

# ruff: noqa: S608 - what the statements are made of is our own

import base64
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text

from leveret.events import Error
from leveret_producer.dead_letters.selection import DeadLetterFilter
from leveret_producer.store.jobs import read_attempts
from leveret_producer.store.listing import LIST_TIMEOUT, Place
from leveret_producer.store.postgres import Postgres
from leveret_producer.views import DeadLetter, DeadLetterBody, WholeDeadLetter, raw, shown_payload

_IS_DEAD_LETTER = "state = 'dead' AND purged_at IS NULL"  # as the index jobs_dead has it
_COLUMNS = """id, queue, type, state, dead_reason, error, attempt, max_attempts, generation, created_at, finished_at,
              correlation_id"""
_ONE = text(
    f"""
    SELECT {_COLUMNS}, purged_at, body, raw, payloads.id IS NOT NULL AS kept
    FROM jobs LEFT JOIN payloads USING (id) WHERE id = :id
    """
)
_HAS_SOME = text("SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND state = 'dead')")
_error = msgspec.json.Decoder(Error)


@dataclass(frozen=True, slots=True)
class WantedDeadLetters:
    """Which dead letters a list is to hold."""

    queue: str
    filter: DeadLetterFilter
    behind: Place | None = None  # of the page before: when its last one died
    limit: int = 50


@dataclass(frozen=True, slots=True)
class NoDeadLetter:
    """What a job is instead."""

    queue: str
    state: str
    purged: bool


class DeadLetters:
    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def had_by(self, queue: str) -> bool:
        """Say whether a queue has, or had, dead letters; it may have no JobQueue any more."""
        async with self._postgres.transaction() as connection:
            return bool((await connection.execute(_HAS_SOME, {"queue": queue})).scalar_one())

    async def page(self, wanted: WantedDeadLetters) -> list[DeadLetter]:
        """Return dead letters, those that died last first."""
        conditions, values = matching(wanted.queue, wanted.filter)
        if wanted.behind:
            conditions += " AND (finished_at, id) < (:behind_at, :behind_id)"
            values |= {"behind_at": wanted.behind.created_at, "behind_id": wanted.behind.id}
        query = f"SELECT {_COLUMNS} FROM jobs WHERE {conditions} ORDER BY finished_at DESC, id DESC LIMIT :limit"
        async with self._postgres.transaction() as connection:
            await connection.execute(LIST_TIMEOUT)
            rows = await connection.execute(text(query), values | {"limit": wanted.limit})
            return [_listed(row) for row in rows]

    async def get(self, id: UUID) -> WholeDeadLetter | NoDeadLetter | None:
        """Return one with everything; what the job is, if it is no dead letter; None if nobody knows it."""
        async with self._postgres.transaction() as connection:
            row = (await connection.execute(_ONE, {"id": id})).one_or_none()
            if row is None:
                return None
            if row.state != "dead" or row.purged_at:
                return NoDeadLetter(row.queue, row.state, row.purged_at is not None)
            attempts = await read_attempts(connection, id)
        return WholeDeadLetter(
            id=row.id,
            queue=row.queue,
            type=row.type,
            reason=row.dead_reason or "",
            error=raw(row.error),
            payload=(payload := shown_payload(row.body, row.raw)),
            body=_body(row) if row.kept and payload is None else None,
            redrivable=row.kept,
            attempts=attempts,
            max_attempts=row.max_attempts,
            generation=row.generation,
            created_at=row.created_at,
            died_at=row.finished_at,
            correlation_id=row.correlation_id,
        )


def matching(queue: str, wanted: DeadLetterFilter) -> tuple[str, dict[str, Any]]:
    """Return the conditions of a query for dead letters, and their values."""
    conditions, values = [f"queue = :queue AND {_IS_DEAD_LETTER}"], {"queue": queue}
    for name, condition in (
        ("reason", "dead_reason = :reason"),
        ("type", "type = :type"),
        ("since", "finished_at >= :since"),
        ("until", "finished_at < :until"),
    ):
        if (value := getattr(wanted, name)) is not None:
            conditions.append(condition)
            values[name] = value
    return " AND ".join(conditions), values


def _listed(row: Row[Any]) -> DeadLetter:
    error = _error.decode(row.error) if row.error else None
    return DeadLetter(
        id=row.id,
        queue=row.queue,
        type=row.type,
        reason=row.dead_reason or "",
        message=error.message if error else None,
        error_type=error.type if error else None,
        attempts=row.attempt,
        max_attempts=row.max_attempts,
        generation=row.generation,
        created_at=row.created_at,
        died_at=row.finished_at,
        correlation_id=row.correlation_id,
    )


def _body(row: Row[Any]) -> DeadLetterBody:
    if row.raw is None:
        return DeadLetterBody("utf-8", row.body)
    return DeadLetterBody("base64", base64.b64encode(row.raw).decode())
