"""Engines for a test's database, and what is in it: seen beside whatever the handlers' connections go through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import URL, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from leveret import marks
from leveret.settings import Database

DRIVERS = ["asyncpg", "psycopg-async", "psycopg"]


def url_of(driver: str, database: Database) -> URL:
    return URL.create(
        f"postgresql+{driver.removesuffix('-async')}",
        database.username,
        database.password,
        database.host,
        database.port,
        database.dbname,
    )


@asynccontextmanager
async def engine_of(driver: str, database: Database, **options: Any) -> AsyncIterator[Any]:
    if driver == "psycopg":
        blocking = create_engine(url_of(driver, database), **options)
        yield blocking
        blocking.dispose()
    else:
        engine = create_async_engine(url_of(driver, database), **options)
        yield engine
        await engine.dispose()


class Rows:
    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def ask(self, statement: str, **words: Any) -> Any:
        async with self.engine.begin() as connection:
            return (await connection.execute(text(statement), words)).scalar_one_or_none()

    async def of(self, job: UUID) -> int:
        return int(await self.ask("SELECT count(*) FROM rows WHERE job = :job", job=job))

    async def do(self, *statements: str) -> None:
        async with self.engine.begin() as connection:
            for one in statements:
                await connection.execute(text(one))


@asynccontextmanager
async def made_rows(database: Database) -> AsyncIterator[Rows]:
    async with engine_of("asyncpg", database) as engine:
        await marks.create(engine)
        rows = Rows(engine)
        await rows.do("CREATE TABLE rows (job uuid)")
        yield rows
