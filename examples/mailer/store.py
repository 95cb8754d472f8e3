"""mailer's database: mails, stored together with their jobs, what becomes of each, and whose turn it is at a server.

Two processes may do the same at once. A mail belongs to one job: what an older front submitted with a
key, and did not write down, sends nothing unless it is the first to take the mail up. A mail goes from *queued* to *sending*
once, however many runs try, and what a run tells of it does not change one that is sent. Times are the database's alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from examples.fronts.database import OwnDatabase
from examples.fronts.text import plain
from examples.mailer.policy import Limited, spacing
from leveret.client import outbox

LOOK_AGAIN = timedelta(seconds=50)  # at a job that goes on: with a sweep each 10 s within a minute
KEPT = timedelta(hours=1)  # grants
LATEST = timedelta(seconds=10)  # for a slot; used later, it would come together with those of others
MOST_AT_ONCE = 100
LONGEST_ERROR = 2_000


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail, and how far it is in one generation of its job; `slot` and `since` are seconds from now."""

    id: UUID
    message_id: str
    recipients: list[str]
    subject: str
    body: str
    created_at: datetime
    owner: UUID  # the job that may send it
    already: bool  # sent, in this generation or one before
    state: str
    since: float
    attempts: int
    deferred: int
    error: str | None
    slot: float | None
    slot_of: str | None


@dataclass(frozen=True, slots=True)
class Open:
    """A mail that has not ended, as a front sees it; `generation` is null before its first run."""

    id: UUID
    job: UUID | None  # null: an older front's, whose job is stored now
    generation: int | None


class Store(OwnDatabase):
    def __init__(self, url: str | None = None, queue: str = "leveret.mailer", *, connections: int = 8) -> None:
        tables = outbox.DDL + (Path(__file__).parent / "schema.sql").read_text()
        super().__init__("mailer", tables, url, connections=connections)
        self._queue = queue

    async def add(self, id: UUID, message_id: str, recipients: Sequence[str], subject: str, body: str) -> None:
        """Store a mail and its job."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO emails (id, message_id, recipients, subject, body, next_look) "
                "VALUES ($1, $2, $3, $4, $5, now() + $6::interval)",
                id, message_id, recipients, subject, body, LOOK_AGAIN,
            )  # fmt: skip
            await self._submit(connection, id)

    async def _submit(self, connection: Any, id: UUID) -> None:
        job = await outbox.submit(connection, self._queue, "send-email", {"id": str(id)})
        await connection.execute("UPDATE emails SET job = $2 WHERE id = $1", id, job)

    async def view(self, id: UUID) -> asyncpg.Record | None:
        async with self._connection() as connection:
            row: asyncpg.Record | None = await connection.fetchrow(
                "SELECT id, CASE state WHEN 'sending' THEN 'queued' ELSE coalesce(state, 'queued') END AS state, backend, "
                "  coalesce(attempts, 0) AS attempts, message_id, error FROM emails LEFT JOIN sendings ON email = id "
                "WHERE id = $1 ORDER BY generation DESC NULLS LAST LIMIT 1",
                id,
            )
        return row

    async def open(self) -> list[Open]:
        """Take up mails whose turn it is, and whose job was sent; their next turn is in a while. Old grants go with it."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("DELETE FROM grants WHERE at < now() - $1::interval", KEPT)
            rows = await connection.fetch(
                "UPDATE emails SET next_look = now() + $1 WHERE id IN (SELECT id FROM emails WHERE next_look <= now()"
                "  AND NOT EXISTS (SELECT FROM leveret_outbox AS unsent WHERE unsent.id = emails.job)"
                "  ORDER BY next_look LIMIT $2 FOR UPDATE SKIP LOCKED) "
                "RETURNING id, job, (SELECT max(generation) FROM sendings WHERE sendings.job = emails.job) AS generation",
                LOOK_AGAIN, MOST_AT_ONCE,
            )  # fmt: skip
            found = [Open(*row) for row in rows]
            for mail in found:
                if mail.job is None:
                    await self._submit(connection, mail.id)
        return found

    async def ended_elsewhere(self, mail: Open, error: str) -> None:
        """Write down that the job ended without telling it: in doubt if it was being sent, unless it has begun anew."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO sendings AS known (job, generation, email, state, error) VALUES ($1, $2, $3, 'failed', $4) "
                "ON CONFLICT (job, generation) DO UPDATE SET since = now(), error = excluded.error,"
                "  state = CASE known.state WHEN 'sending' THEN 'maybe-sent' ELSE 'failed' END "
                "WHERE known.state IN ('queued', 'sending')",
                mail.job, mail.generation or 1, mail.id, plain(error, LONGEST_ERROR),
            )  # fmt: skip
            await connection.execute(  # what a redrive left behind, without a word of its last run, is no reason to look
                "UPDATE emails SET next_look = NULL WHERE id = $1 AND NOT EXISTS "
                "(SELECT FROM sendings WHERE email = $1 AND generation >= $2 AND state IN ('queued', 'sending'))",
                mail.id, mail.generation or 1,
            )  # fmt: skip

    async def take_up(self, id: UUID, job: UUID, generation: int) -> Mail | None:
        """Return a mail as a run of a job finds it; another job's stays that one's. None: there is no such mail."""
        async with self._connection() as connection, connection.transaction():
            owner = await connection.fetchval(
                "UPDATE emails SET job = coalesce(job, $2) WHERE id = $1 RETURNING job", id, job
            )
            if owner == job:
                await connection.execute(
                    "WITH new AS (INSERT INTO sendings (job, generation, email) VALUES ($1, $2, $3)"
                    "  ON CONFLICT DO NOTHING RETURNING email) "
                    "UPDATE emails SET next_look = now() + $4::interval FROM new WHERE id = new.email",
                    job, generation, id, LOOK_AGAIN,
                )  # fmt: skip
            row = await connection.fetchrow(
                "SELECT id, message_id, recipients, subject, body, created_at, emails.job, "
                "  EXISTS (SELECT FROM sendings AS other WHERE other.email = id AND other.state = 'sent') AS already, "
                "  coalesce(state, 'queued'), coalesce(extract(epoch FROM since - clock_timestamp()), 0)::float8, "
                "  coalesce(attempts, 0), coalesce(deferred, 0), error, "
                "  extract(epoch FROM slot - clock_timestamp())::float8, slot_of "
                "FROM emails LEFT JOIN sendings ON sendings.job = emails.job AND generation = $2 WHERE id = $1",
                id, generation,
            )  # fmt: skip
        return None if row is None else Mail(*row)

    async def reserve(self, job: UUID, generation: int, backend: str, limit: Limited) -> float:
        """Grant a run the next time at a backend, and keep it for the run's mail; return how many seconds from now it is."""
        between, ahead = (timedelta(seconds=seconds) for seconds in spacing(limit))
        async with self._connection() as connection:
            wait: float = await connection.fetchval(
                "WITH granted AS ("
                "  INSERT INTO rates AS rate (backend, theoretical, granted)"
                "  SELECT $1::text, now + $2::interval, now FROM (SELECT clock_timestamp() AS now) AS clock"
                "  ON CONFLICT (backend) DO UPDATE SET theoretical = greatest(rate.theoretical, excluded.granted) + $2,"
                "    granted = greatest(excluded.granted, greatest(rate.theoretical, excluded.granted) + $2 - $3::interval)"
                "  RETURNING granted AS at"
                "), logged AS (INSERT INTO grants SELECT $1, at FROM granted"
                "), kept AS (UPDATE sendings SET slot = at, slot_of = $1 FROM granted WHERE job = $4 AND generation = $5) "
                "SELECT extract(epoch FROM at - clock_timestamp())::float8 FROM granted",
                backend, between, ahead, job, generation,
            )  # fmt: skip
        return wait

    async def sending(self, job: UUID, generation: int, backend: str) -> bool:
        """Write down, before a mail is handed over, that it is; return whether this run may do so. Its slot is used by that."""
        async with self._connection() as connection:
            changed = await connection.execute(
                "UPDATE sendings SET state = 'sending', since = clock_timestamp(), backend = $3, slot = NULL, slot_of = NULL "
                "WHERE job = $1 AND generation = $2 AND state = 'queued'",
                job, generation, backend,
            )  # fmt: skip
        return bool(changed == "UPDATE 1")

    async def tell(
        self, job: UUID, generation: int, state: str, error: str | None, *, backend: str | None = None,
        tried: bool = True, deferred: bool = False,
    ) -> None:  # fmt: skip
        """Write down how a try ended; `tried`: it counts. What is sent stays sent."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE sendings SET since = clock_timestamp(), attempts = attempts + $5, deferred = deferred + $6, error = $4, "
                "  backend = coalesce($7, backend), slot = NULL, slot_of = NULL, state = $3::text "
                "WHERE job = $1 AND generation = $2 AND state <> 'sent' AND (state <> $3 OR $3 = 'queued')",
                job, generation, state, error and plain(error, LONGEST_ERROR), int(tried), int(deferred), backend,
            )  # fmt: skip
            if state != "queued":
                await connection.execute("UPDATE emails SET next_look = NULL WHERE job = $1", job)
