"""An application that takes orders, each with a job in one transaction, and gives every fifth up; its relay runs beside it.

`python ordering_application.py DRIVER`, with the database in LEVERET_OUTBOX_DATABASE_URL. It ends when it is killed.
"""

import asyncio
import os
import random
import sys
import time

import asyncpg
import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from leveret.client import outbox

PAUSE = 0.01  # s between two orders
URL = os.environ.get("LEVERET_OUTBOX_DATABASE_URL", "")
QUEUE = f"leveret.{sys.argv[-1]}"


class GivenUp(Exception):
    pass


def given_up() -> None:
    if random.random() < 0.2:
        raise GivenUp


def by_psycopg() -> None:
    with outbox.RelayThread(URL):
        while True:
            try:
                with psycopg.connect(URL, connect_timeout=2) as connection:
                    while True:
                        time.sleep(PAUSE)
                        try:
                            with connection.transaction():
                                job = outbox.submit(connection, QUEUE, "free", "psycopg")
                                connection.execute("INSERT INTO orders VALUES (%s)", (job,))
                                given_up()
                        except GivenUp:
                            pass
            except psycopg.Error:
                time.sleep(0.1)


async def by_asyncpg() -> None:
    pool = await asyncpg.create_pool(URL, min_size=0, max_size=3, timeout=2, command_timeout=5)
    async with outbox.Relay(pool):
        while True:
            await asyncio.sleep(PAUSE)
            try:
                async with pool.acquire() as connection, connection.transaction():
                    job = await outbox.submit(connection, QUEUE, "free", "asyncpg")
                    await connection.execute("INSERT INTO orders VALUES ($1)", job)
                    given_up()
            except GivenUp:
                pass
            except Exception:
                await asyncio.sleep(0.1)


async def by_sqlalchemy() -> None:
    url, waits = URL.replace("postgresql://", "postgresql+asyncpg://"), {"timeout": 2, "command_timeout": 5}
    engine = create_async_engine(url, pool_pre_ping=True, connect_args=waits)
    async with outbox.Relay(engine):
        while True:
            await asyncio.sleep(PAUSE)
            try:
                async with AsyncSession(engine) as session, session.begin():
                    job = await outbox.submit(session, QUEUE, "free", "SQLAlchemy")
                    await session.execute(text("INSERT INTO orders VALUES (:job)"), {"job": job})
                    given_up()
            except GivenUp:
                pass
            except Exception:
                await asyncio.sleep(0.1)


if __name__ == "__main__":
    if sys.argv[1] == "psycopg":
        by_psycopg()
    else:
        asyncio.run(by_asyncpg() if sys.argv[1] == "asyncpg" else by_sqlalchemy())
