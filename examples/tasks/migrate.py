"""Bring the tables to this version: `python -m examples.tasks.migrate`, before each front that starts.

However many do so at once, an advisory lock lets one of them migrate, and the others find it done. While the database is away
it waits. Migrations add and take nothing away that the version before uses, so that fronts of both may run; and one that
finds tables of a newer version leaves them.
"""

import asyncio
import logging
import os
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

LOCK = 7315082
PAUSE_SECONDS = 1.0

log = logging.getLogger("examples.tasks.migrate")


async def migrate(url: str | None) -> bool:
    """Return whether this one did it; raise what keeps it from doing so."""
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(url, timeout=5)
    )
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        return await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> bool:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current == scripts.get_current_head() or (current is not None and current not in known):
        return False
    command.upgrade(config, "head")
    return True


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    while True:
        try:
            done = await migrate(os.environ.get("DATABASE_URL"))
        except (OSError, TimeoutError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as problem:
            log.warning("the tables can't be looked at yet, and this is tried again: %s", problem)
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        log.info("the tables are migrated" if done else "the tables are as they should be")
        return


if __name__ == "__main__":
    asyncio.run(main())
