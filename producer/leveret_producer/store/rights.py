"""What a database that somebody else owns lacks for Leveret, told at the start in one sentence with the statement that mends it.

Without that, each part fails at its own time with PostgreSQL's words for it, which name neither the right nor the role. What
stops everything is told apart from what stops only the partitions of the coming days and the removal of old jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from leveret_producer.store.postgres import quoted

TABLES = (
    "alembic_version", "jobs", "payloads", "attempts", "queues", "handlers", "decisions", "dead_letter_operations",
    "dead_letter_chunks", "idempotency_keys", "leases", "cancel_rules", "cancels", "outbox", "turns",
)  # fmt: skip
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")

_FACTS = text(
    """
    SELECT current_user AS role, current_database() AS database, current_schema() AS schema,
        current_setting('search_path') AS search_path, pg_is_in_recovery() AS standby,
        current_setting('default_transaction_read_only') = 'on' AS read_only, current_setting('server_encoding') AS encoding,
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
        to_regclass('jobs') IS NOT NULL AND to_regclass('alembic_version') IS NOT NULL AS there,
        (SELECT min(nspname) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
         WHERE relname = 'dead_letter_chunks' AND relkind = 'r' AND has_table_privilege(pg_class.oid, 'INSERT')) AS elsewhere
    """
)
# A partition is found by its parent, whatever schema it is in.
_TABLES = text(
    """
    WITH ours AS (
        SELECT CAST(to_regclass(name) AS oid) AS oid, 0 AS depth FROM unnest(CAST(:tables AS text[])) AS name
        UNION
        SELECT CAST(relid AS oid), level FROM unnest(ARRAY['jobs', 'payloads', 'attempts']) AS name,
            LATERAL pg_partition_tree(to_regclass(name)) WHERE level > 0
    )
    SELECT CAST(CAST(oid AS regclass) AS text) AS name, pg_get_userbyid(relowner) AS owner,
        pg_has_role(relowner, 'USAGE') AS owned, depth > 0 AS partition,
        ARRAY(SELECT one FROM unnest(CAST(:privileges AS text[])) AS one WHERE NOT has_table_privilege(oid, one)) AS lacking
    FROM ours JOIN pg_class USING (oid) ORDER BY depth, oid
    """
)


class RightMissing(Exception):
    """The database can't be used as it is; the message is one sentence and has the statement that mends it."""


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    owner: str
    owned: bool  # by the role, or by one that it is a member of
    partition: bool
    lacking: tuple[str, ...]  # privileges


@dataclass(frozen=True, slots=True)
class Standing:
    """What a role finds in a database."""

    role: str
    database: str
    schema: str | None  # the first of the search path that is there; None: none is
    search_path: str
    standby: bool
    read_only: bool
    encoding: str
    may_create: bool  # in that schema
    elsewhere: str | None  # schema beside the search path in which our tables are, for this role to use
    tables: tuple[Table, ...]  # of ours, as the search path finds them


async def look(connection: AsyncConnection) -> Standing:
    row = (await connection.execute(_FACTS)).one()
    tables: Sequence[Row[tuple[str, str, bool, bool, list[str]]]] = []
    if row.there:
        wanted = {"tables": list(TABLES), "privileges": list(PRIVILEGES)}
        tables = (await connection.execute(_TABLES, wanted)).all()
    return Standing(
        role=quoted(row.role),
        database=quoted(row.database),
        schema=None if row.schema is None else quoted(row.schema),
        search_path=row.search_path,
        standby=row.standby,
        read_only=row.read_only,
        encoding=row.encoding,
        may_create=row.may_create,
        elsewhere=None if row.there or row.elsewhere is None else quoted(row.elsewhere),
        tables=tuple(
            Table(one.name, quoted(one.owner), one.owned, one.partition, tuple(one.lacking)) for one in tables
        ),
    )


def stops(found: Standing, *, pending: bool) -> str | None:
    """Say what must be changed before anything can be done here; None: nothing. `pending`: tables are to be made or changed."""
    role, database = found.role, found.database
    if found.standby:
        return f"the database {database} is a read-only replica: name its primary as the host in the Secret"
    if found.read_only:
        return (
            f"transactions of {role} in {database} are read-only: "
            f"ALTER ROLE {role} IN DATABASE {database} SET default_transaction_read_only = off"
        )
    if found.schema is None:
        return (
            f"{role} may use no schema of its search_path ({found.search_path}) in {database}: "
            f"GRANT USAGE, CREATE ON SCHEMA public TO {role}, or, if the tables are to be in another one, "
            f"ALTER ROLE {role} IN DATABASE {database} SET search_path = that"
        )
    if found.elsewhere is not None:
        return (
            f"Leveret's tables are in the schema {found.elsewhere} of {database}, and the search_path of {role} "
            f"({found.search_path}) does not lead there: "
            f"ALTER ROLE {role} IN DATABASE {database} SET search_path = {found.elsewhere}"
        )
    if not found.tables and found.encoding != "UTF8":
        return (
            f"{_encoding(found)}: name a database in the Secret that was made with ENCODING 'UTF8' TEMPLATE template0"
        )
    if pending and (lack := _structure(found)):
        return lack
    return _rows([one for one in found.tables if not one.partition], found)


def warns(found: Standing) -> list[str]:
    """Say what is amiss though jobs are taken: retention, and what an encoding can't hold."""
    partitions = [one for one in found.tables if one.partition]
    said = [one for one in (_structure(found), _rows(partitions, found)) if one]
    said = [f"{one}; until then no partition is made for a new day, and no old job removed" for one in said]
    if found.tables and found.encoding != "UTF8":
        said.append(f"{_encoding(found)}: move to a database that was made with ENCODING 'UTF8'")
    return said


def _structure(found: Standing) -> str | None:
    if not found.may_create:
        return (
            f"{found.role} may not create tables in the schema {found.schema} of {found.database}: "
            f"GRANT USAGE, CREATE ON SCHEMA {found.schema} TO {found.role}"
        )
    strangers = [one for one in found.tables if not one.owned]
    if strangers:
        return (
            f"{found.role} does not own {_named(strangers)} in {found.database}, and only an owner can make and remove "
            f"partitions: GRANT {strangers[0].owner} TO {found.role}"
        )
    return None


def _rows(tables: Sequence[Table], found: Standing) -> str | None:
    barred = [one for one in tables if one.lacking]
    if not barred:
        return None
    lacking = ", ".join(one for one in PRIVILEGES if any(one in table.lacking for table in barred))
    names = ", ".join(one.name for one in barred)
    return f"{found.role} lacks {lacking} on {_named(barred)} in {found.database}: GRANT {lacking} ON {names} TO {found.role}"


def _named(tables: Sequence[Table]) -> str:
    first = ", ".join(one.name for one in tables[:3])
    return first if len(tables) <= 3 else f"{first} and {len(tables) - 3} more tables"


def _encoding(found: Standing) -> str:
    return f"the database {found.database} has the encoding {found.encoding}, which can't hold every payload"
