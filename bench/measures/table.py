"""What the store's statements read of a month with a million jobs, beside what they read of one with 20,000.

Both have a partition a day, and a PostgreSQL with its own defaults. Rows are counted and not time, so the figures are the
same on every machine: whatever reads the table instead of its rows reads fifty times as much here.
"""

import contextlib
from collections.abc import AsyncIterator
from functools import partial

import asyncpg

from bench.measures import Figures, Measure, Turns
from bench.servers import Place, Servers
from leveret_producer.store.migrate import migrate
from leveret_producer.store.postgres import Postgres
from tests.support.hot_statements import CALLS, Hot, hot
from tests.support.month import make_month

MANY, FEW = 1_000_000, 20_000  # jobs
BATCH = 500
ROUNDS = 7  # on one connection: five executions have plans of their own, the others one for all values


@contextlib.asynccontextmanager
async def _open(servers: Servers) -> AsyncIterator[Turns]:
    many, few = servers.place("table_many"), servers.place("table_few")
    await _filled(many, MANY)
    await _filled(few, FEW)
    yield Turns(partial(_turn, many), partial(_turn, few))


async def _filled(place: Place, jobs: int) -> None:
    store = Postgres(lambda: place.database, connections=1, name="bench")
    await migrate(store)
    await store.close()
    connection = await asyncpg.connect(place.database_url())
    try:
        await make_month(connection, jobs)
    finally:
        await connection.close()


async def _turn(place: Place) -> Figures:
    """Return, of each call, the most rows that it read, those that it was about counted once more: it may read none."""
    most = dict.fromkeys(CALLS, 0)
    async with hot(place.database) as store:
        for _ in range(ROUNDS):
            most = {call: max(most[call], rows) for call, rows in (await _rows(store)).items()}
    return {f"table.{call}": float(BATCH + rows) for call, rows in most.items()}


async def _rows(store: Hot) -> dict[str, int]:
    return {call: sum(one.rows for one in explained) for call, explained in (await store.each_call(BATCH)).items()}


TABLE = Measure(
    "table",
    "rows that a call reads of 1,000,000 jobs ÷ of 20,000",
    _open,
    tuple(f"table.{call}" for call in CALLS),
)
