"""Bring the tables to this version, while other replicas may be doing the same.

An advisory lock lets one replica migrate and the others find it done. Migrations expand before they contract, so a
replica of the version before keeps working on the new tables; and it takes them for migrated, since it can't know the
newer revision.

A statement may take minutes where the tables are large, so all is done over a connection of its own. A lock on a table is
waited for only briefly, though: everybody else waits behind who waits for it.
"""

from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from leveret_producer.store import budget, pooler, rights
from leveret_producer.store.postgres import Postgres

log = structlog.get_logger(__name__)

LOCK = 0x6C65766572657401  # "leveret", 1: one number for all replicas
MIGRATION_TIMEOUT = 600.0  # s
LOCK_TIMEOUT = "5s"  # for a table; who doesn't get it tries again from the start


async def migrate(postgres: Postgres) -> list[str]:
    """Return once the tables are there, and what is amiss though they are; raise DatabaseUnavailable or RightMissing."""
    async with postgres.long_transaction(MIGRATION_TIMEOUT) as connection:
        found = await rights.look(connection)
        readable = any(one.name == "alembic_version" and "SELECT" not in one.lacking for one in found.tables)
        pending = await connection.run_sync(_pending) if readable else not found.tables
        if because := rights.stops(found, pending=pending):
            raise rights.RightMissing(because)
        short = budget.falls_short(await budget.look(connection))
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.run_sync(_upgrade)
        warns = rights.warns(await rights.look(connection)) + ([short] if short else [])
    return [*warns, pooler.SHARED] if await pooler.shares(postgres) else warns


def _upgrade(connection: Connection) -> None:
    if _pending(connection):
        command.upgrade(_config(connection), "head")


def _pending(connection: Connection) -> bool:
    scripts = ScriptDirectory.from_config(_config(connection))
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
        log.info("the tables are of a newer version, which serves this one too", revision=current)
        return False
    return current != scripts.get_current_head()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
