"""The front's database: checks with their URLs and results, and reports of failing sites.

Two processes may do the same at once: a result is written once and stays, and a check is taken up by one process at a time,
for as long as its lease lasts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from examples.fronts.database import OwnDatabase
from leveret.client import NewJob, outbox

LEASE = timedelta(seconds=60)  # longer than a round of requests for a check takes
PAUSE = timedelta(seconds=5)  # after trouble
SENDING = timedelta(seconds=20)  # longer than a relay sends what it has taken
PAGE_ROWS = 100
MOST_REPORTS = 1_000


@dataclass(frozen=True, slots=True)
class Claimed:
    id: UUID
    cancelled: bool = False  # and Leveret has not been told of all yet
    settled: bool = False  # for so long that no job of it is under way to Leveret


@dataclass(frozen=True, slots=True)
class Result:
    place: int
    text: str  # JSON
    failed: bool


class Store(OwnDatabase):
    def __init__(self, url: str | None = None, queue: str = "leveret.url-check") -> None:
        super().__init__("url-check", outbox.DDL + (Path(__file__).parent / "schema.sql").read_text(), url)
        self._queue = queue

    async def add(self, id: UUID, urls: Sequence[str]) -> None:
        """Store a check and its jobs, whole or not at all."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("INSERT INTO checks (id, total) VALUES ($1, $2)", id, len(urls))
            await connection.execute(
                "INSERT INTO urls SELECT $1, place, url FROM unnest($2::text[]) WITH ORDINALITY AS sent (url, place)",
                id, urls,
            )  # fmt: skip
            await self._submit(connection, id, urls)

    async def _submit(self, connection: Any, id: UUID, urls: Sequence[str]) -> None:
        new = [NewJob("check-url", {"url": url}) for url in urls]
        await connection.execute(
            "WITH submitted AS (UPDATE checks SET submitted_at = now(), next_look = 'infinity' WHERE id = $1) "
            "UPDATE urls SET job = new.job FROM unnest($2::uuid[]) WITH ORDINALITY AS new (job, place) "
            "WHERE check_id = $1 AND urls.place = new.place",
            id, await outbox.submit_many(connection, self._queue, new),
        )  # fmt: skip

    async def claim(self) -> Claimed | None:
        """Take up the open check whose turn it is; nobody else takes it up until the lease is over."""
        async with self._connection() as connection, connection.transaction():
            row = await connection.fetchrow(
                "UPDATE checks SET next_look = now() + $1 WHERE id = ("
                "  SELECT id FROM checks WHERE finished_at IS NULL AND (next_look <= now() OR next_look = 'infinity' AND NOT EXISTS ("
                "    SELECT FROM urls JOIN leveret_outbox AS unsent ON unsent.id = job WHERE check_id = checks.id AND NOT refused))"
                "  ORDER BY next_look LIMIT 1 FOR UPDATE SKIP LOCKED"
                ") RETURNING id, cancelled_at IS NOT NULL AND NOT cancel_stored AS cancelled,"
                "  coalesce(cancelled_at < now() - $2::interval, false) AS settled, submitted_at IS NULL AND cancelled_at IS NULL",
                LEASE, SENDING,
            )  # fmt: skip
            if row is None:
                return None
            if not row[-1]:
                return Claimed(*row[:-1])
            rows = await connection.fetch("SELECT url FROM urls WHERE check_id = $1 ORDER BY place", row["id"])
            await self._submit(connection, row["id"], [url for (url,) in rows])  # an older front stored it
        return None

    async def cancel(self, id: UUID) -> bool | None:
        """Note that a check is wanted no more, and return whether that is noted: not of one that has ended. None for no such check."""
        async with self._connection() as connection:
            noted: bool | None = await connection.fetchval(
                # Jobs that are in the outbox leave it; one that no relay ever took is forgotten.
                "WITH noted AS (UPDATE checks SET cancelled_at = coalesce(cancelled_at, now()), next_look = now() "
                "  WHERE id = $1 AND finished_at IS NULL RETURNING id"
                "), unsent AS (DELETE FROM leveret_outbox USING noted, urls "
                "  WHERE check_id = noted.id AND leveret_outbox.id = job RETURNING job, tries"
                "), never AS (UPDATE urls SET job = NULL FROM unsent WHERE check_id = $1 AND urls.job = unsent.job AND tries = 0) "
                "SELECT cancelled_at IS NOT NULL OR EXISTS (SELECT FROM noted) FROM checks WHERE id = $1",
                id,
            )
        return noted

    async def pending(self, id: UUID) -> list[tuple[int, str, UUID | None]]:
        """Return place, URL and job of what has no result yet; of a cancelled check the job is None where it was never sent."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT place, url, job FROM urls WHERE check_id = $1 AND result IS NULL "
                "AND NOT EXISTS (SELECT FROM leveret_outbox WHERE leveret_outbox.id = job) ORDER BY place",
                id,
            )
        return [(row["place"], row["url"], row["job"]) for row in rows]

    async def keep(self, id: UUID, results: Sequence[Result], *, cancelled: bool = False) -> None:
        """Keep final results, and that Leveret knows of the cancel; the next look is the later, the longer the check takes."""
        async with self._connection() as connection, connection.transaction():
            await connection.execute("SELECT FROM checks WHERE id = $1 FOR UPDATE", id)
            await connection.execute(
                "UPDATE urls SET result = known.result, failed = known.failed "
                "FROM unnest($2::integer[], $3::text[], $4::boolean[]) AS known (place, result, failed) "
                "WHERE check_id = $1 AND urls.place = known.place AND urls.result IS NULL",
                id,
                [one.place for one in results],
                [one.text for one in results],
                [one.failed for one in results],
            )
            await connection.execute(
                "UPDATE checks SET trouble = NULL, next_look = now() + "
                "  least(greatest((now() - greatest(submitted_at, cancelled_at)) / 20, interval '500 ms'), interval '1 minute'), "
                "cancel_stored = cancel_stored OR $2, "
                "finished_at = CASE WHEN EXISTS (SELECT FROM urls WHERE check_id = $1 AND result IS NULL) "
                "  THEN NULL ELSE now() END WHERE id = $1",
                id, cancelled,
            )  # fmt: skip

    async def trouble(self, id: UUID, said: str) -> None:
        async with self._connection() as connection:
            await connection.execute(
                "UPDATE checks SET trouble = $2, next_look = now() + $3 WHERE id = $1", id, said, PAUSE
            )

    async def results(self, id: UUID) -> tuple[int, datetime | None, list[str]] | None:
        """Return how many URLs a check has, when it was cancelled, and its results as JSON; None for no such check."""
        async with self._connection() as connection:
            check = await connection.fetchrow("SELECT total, cancelled_at FROM checks WHERE id = $1", id)
            if check is None:
                return None
            rows = await connection.fetch(
                "SELECT result FROM urls WHERE check_id = $1 AND result IS NOT NULL ORDER BY place", id
            )
        return *check, [row["result"] for row in rows]

    async def view(self, id: UUID, page: int) -> tuple[asyncpg.Record, list[asyncpg.Record]] | None:
        """Return a check with its counts, and one page of its URLs: those that failed first, those that wait last."""
        async with self._connection() as connection:
            check = await connection.fetchrow(
                "SELECT total, created_at, cancelled_at, finished_at, coalesce(trouble, ("
                "  SELECT 'Its jobs wait for Leveret, and nothing is lost: ' || error "
                "  FROM urls JOIN leveret_outbox AS unsent ON unsent.id = job WHERE check_id = $1 AND error IS NOT NULL LIMIT 1"
                ")) AS trouble, done, failed FROM checks, "
                "(SELECT count(result) AS done, count(*) FILTER (WHERE failed) AS failed FROM urls WHERE check_id = $1)"
                " AS counts WHERE id = $1",
                id,
            )
            if check is None:
                return None
            rows = await connection.fetch(
                "SELECT url, failed, result FROM urls WHERE check_id = $1 "
                "ORDER BY failed DESC NULLS LAST, place LIMIT $2 OFFSET $3",
                id, PAGE_ROWS, (page - 1) * PAGE_ROWS,
            )  # fmt: skip
        return check, rows

    async def report(self, job: UUID, url: str, reason: str, at: datetime) -> None:
        """Count a failure of a URL, once for each job."""
        async with self._connection() as connection:
            await connection.execute(
                "WITH new AS (INSERT INTO reported VALUES ($1) ON CONFLICT DO NOTHING RETURNING job) "
                "INSERT INTO reports (url, reason, times, last) SELECT $2, $3, 1, $4 FROM new "
                "ON CONFLICT (md5(url)) DO UPDATE SET times = reports.times + 1, "
                "  last = greatest(reports.last, excluded.last), "
                "  reason = CASE WHEN excluded.last >= reports.last THEN excluded.reason ELSE reports.reason END",
                job, url, reason, at,
            )  # fmt: skip

    async def reports(self) -> list[asyncpg.Record]:
        """Return the newest."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT url, reason, times, last FROM reports ORDER BY last DESC LIMIT $1", MOST_REPORTS
            )
        return list(rows)
