"""How many connections a replica may open, held against what PostgreSQL gives.

A replica's pools grow with its load, so a limit that is too low shows only then, as 503 here and there. So it is told at the
start. It is told and not refused: what is there serves as long as the load is low, and a rolling update has one replica more.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret_producer.store.postgres import quoted

REQUESTS, WORK = 8, 6  # connections of the two pools
PER_REPLICA = REQUESTS + WORK + 2  # one for retention, and at the start one for migrations

# Other replicas are known by the names of their connections, which a role may see of its own.
_FOUND = text(
    """
    SELECT current_user AS role, current_database() AS database,
        CAST(current_setting('max_connections') AS integer) AS most,
        CASE WHEN rolsuper THEN 0 ELSE CAST(current_setting('superuser_reserved_connections') AS integer)
            + CAST(coalesce(current_setting('reserved_connections', true), '0') AS integer) END AS reserved,
        rolconnlimit AS of_role, datconnlimit AS of_database,
        (SELECT count(DISTINCT regexp_replace(application_name, ' (requests|work|retention)$', '')) FROM pg_stat_activity
         WHERE usename = current_user AND datname = current_database()
            AND application_name ~ ' (requests|work|retention)$') AS replicas,
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename IS NOT NULL
            AND NOT (usename = current_user AND application_name ~ ' (requests|work|retention)$')) AS others
    FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
    """
)


@dataclass(frozen=True, slots=True)
class Limits:
    role: str
    database: str
    most: int  # max_connections
    reserved: int  # of those, for others than this role
    of_role: int  # -1: none
    of_database: int  # -1: none
    replicas: int  # that are connected, this one included
    others: int  # connections of somebody else, as far as they show


async def look(connection: AsyncConnection) -> Limits:
    row = (await connection.execute(_FOUND)).one()._mapping
    return Limits(**{**row, "role": quoted(row["role"]), "database": quoted(row["database"])})


def falls_short(found: Limits) -> str | None:
    """Say which limit is too low for the replicas that are there, and how to raise it; None: none is."""
    needed = max(found.replicas, 1) * PER_REPLICA
    places = [
        (
            found.most - found.reserved - found.others,
            found.most,
            "max_connections",
            "raise max_connections to at least {}",
        ),
        (found.of_role, found.of_role, f"the limit of {found.role}", f"ALTER ROLE {found.role} CONNECTION LIMIT {{}}"),
        (
            found.of_database,
            found.of_database,
            f"the limit of {found.database}",
            f"ALTER DATABASE {found.database} CONNECTION LIMIT {{}}",
        ),
    ]
    short = [one for one in places if one[1] >= 0 and one[0] < needed]
    if not short:
        return None
    free, limit, name, remedy = min(short)
    return (
        f"{max(found.replicas, 1)} producers may open {needed} connections ({PER_REPLICA} each), and PostgreSQL gives them "
        f"{max(free, 0)} ({name} is {limit}): under load some requests would be answered with 503; "
        f"{remedy.format(limit + needed - free)}, or run fewer producers"
    )
