"""The front's side of the database: what is committed, and nothing of what is still being inserted."""

from pathlib import Path
from typing import Any
from uuid import UUID

from examples.fronts.database import OwnDatabase


class Store(OwnDatabase):
    def __init__(self, url: str | None = None) -> None:
        super().__init__("bulk-insert", (Path(__file__).parent / "schema.sql").read_text(), url, seconds=60.0)

    async def count(self) -> int:
        async with self._connection() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM rows"))

    async def count_of(self, job: UUID) -> int:
        async with self._connection() as connection:
            return int(await connection.fetchval("SELECT count(*) FROM rows WHERE job = $1", job))

    async def page(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """Return so many rows after the first `offset`: the oldest job's first."""
        async with self._connection() as connection:
            rows = await connection.fetch(
                "SELECT job, number, inserted_at FROM rows ORDER BY job, number LIMIT $1 OFFSET $2", limit, offset
            )
        return [dict(row) for row in rows]

    async def delete_all(self) -> int:
        """Delete what is committed, all or nothing, and return how much it was; inserts that go on are not waited for."""
        async with self._connection() as connection:
            done: str = await connection.execute("DELETE FROM rows")
        return int(done.removeprefix("DELETE "))
