"""Leases of producers that are dead: what those had taken is free within seconds, and not when the leases run out.

A take notes the end of its leases with the producer's name. A producer is dead if the database has no session of that name any
more that was there at the take: who is killed loses them at once; who only stands still keeps them. One whose sessions were
cut may live, so it has some seconds to write by new ones what it published. And a session that is itself younger than a lease
calls nobody dead: perhaps the database was away, and all had to come back.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

GRACE = 1 / 6  # of a lease, from the take: 5 s

_NOTE = text(
    """
    INSERT INTO leases (until, producer)
    VALUES (now() + CAST(:lease AS double precision) * interval '1 second', current_setting('application_name'))
    ON CONFLICT DO NOTHING
    """
)
_LEFT = text(
    """
    WITH durations AS (
        SELECT CAST(:lease AS double precision) * interval '1 second' AS whole,
            CAST(:grace AS double precision) * interval '1 second' AS grace
    )
    DELETE FROM leases USING durations
    WHERE until <= now() OR until <= now() + whole - grace AND NOT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = producer AND backend_start <= until - whole
    ) AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = pg_backend_pid() AND backend_start <= now() - whole)
    RETURNING until
    """
)
_FREE = text(
    """
    UPDATE jobs SET lease_until = now() WHERE id = ANY(ARRAY(
        SELECT id FROM jobs
        WHERE published_at IS NULL AND lease_until = ANY(CAST(:untils AS timestamptz[])) AND lease_until > now()
        FOR UPDATE SKIP LOCKED
    ))
    """
)
_FREE_COMMANDS = text("UPDATE outbox SET lease_until = now() WHERE lease_until = ANY(CAST(:untils AS timestamptz[]))")


async def note(connection: AsyncConnection, lease: float) -> None:
    """Note that this transaction has taken rows."""
    await connection.execute(_NOTE, {"lease": lease})


async def free(connection: AsyncConnection, lease: float) -> None:
    """Have what dead producers took be anybody's."""
    if left := [row.until for row in await connection.execute(_LEFT, {"lease": lease, "grace": GRACE * lease})]:
        for statement in (_FREE, _FREE_COMMANDS):
            await connection.execute(statement, {"untils": left})
