"""A front's or a consumer's own database, when another process comes to it while others work."""

import asyncio

import asyncpg
import pytest

from examples.fronts.database import OwnDatabase
from examples.mailer.store import Store as Mails
from examples.url_check.store import Store as Checks


@pytest.mark.parametrize(
    ("store", "table"), [pytest.param(Mails, "emails", id="mailer"), pytest.param(Checks, "checks", id="url-check")]
)
async def test_who_comes_later_waits_for_nobody_who_writes(
    kept: str, store: type[Mails] | type[Checks], table: str
) -> None:
    """And all who come first at the same time make the tables once."""
    first: list[OwnDatabase] = [store(kept) for _ in range(4)]
    await asyncio.gather(*(one.ping() for one in first))
    writer = await asyncpg.connect(kept)
    later = store(kept)
    async with writer.transaction():
        await writer.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")  # as each INSERT and UPDATE takes it
        async with asyncio.timeout(20):
            await later.ping()
    await writer.close()
    for one in (*first, later):
        await one.close()
