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

from leveret_producer.store.postgres import Postgres

log = structlog.get_logger(__name__)

LOCK = 0x6C65766572657401  # "leveret", 1: one number for all replicas
MIGRATION_TIMEOUT = 600.0  # s
LOCK_TIMEOUT = "5s"  # for a table; who doesn't get it tries again from the start


async def migrate(postgres: Postgres) -> None:
    """Return once the tables are there; raise DatabaseUnavailable."""
    async with postgres.long_transaction(MIGRATION_TIMEOUT) as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        log.info("the tables are of a newer version, which serves this one too", revision=current)
        return
    command.upgrade(config, "head")
