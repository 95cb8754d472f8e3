"""The handler of the JobQueue `bulk-insert`: all rows of a job in one transaction.

They come in chunks, so that a stop meets the transaction between its first row and its COMMIT, and progress is told from
within it. The database is where libpq's variables (PGHOST, PGPASSWORD, …) point.
"""

import asyncio
import os

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from examples.bulk_insert.limits import Rows
from leveret import Context, Handlers

CHUNK = 5_000  # rows
INSERT = text("INSERT INTO rows (job, number) SELECT :job, generate_series(CAST(:first AS integer), :last)")

handlers = Handlers()
engine = create_async_engine(
    "postgresql+asyncpg://",
    pool_size=10,  # the JobQueue's concurrency
    pool_pre_ping=True,  # the database may have been restarted since
    connect_args={"timeout": 5, "server_settings": {"application_name": "bulk-insert"}},
)


class Insert(BaseModel):
    rows: Rows


@handlers.job("insert-rows", transaction=engine)
async def insert_rows(ctx: Context, job: Insert) -> int:
    """Insert the rows, all or none, and return how many."""
    most = float(os.environ.get("BULK_INSERT_ROWS_PER_SECOND", "inf"))  # of one insert, to leave others their turn
    async with ctx.transaction(engine) as tx:
        for first in range(1, job.rows + 1, CHUNK):
            last = min(first + CHUNK - 1, job.rows)
            await tx.connection.execute(INSERT, {"job": ctx.job_id, "first": first, "last": last})
            ctx.progress(last, job.rows)
            await asyncio.sleep((last - first + 1) / most)
        tx.result(job.rows)
    return job.rows
