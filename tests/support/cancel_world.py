"""A job in the database, and what can become of it: for tests of cancels."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat
from producers import QUEUE
from sqlalchemy import Row, text

from leveret.events import JobEvent
from leveret.jobs import Envelope, State
from leveret_producer.recorder.merge import Report
from leveret_producer.store.cancels import Cancels, Wanted
from leveret_producer.store.commands import Commands
from leveret_producer.store.jobs import Jobs, NewJob
from leveret_producer.store.outbox import OutboxRows, Publication
from leveret_producer.store.postgres import Postgres
from leveret_producer.store.recording import Recorded, Recording
from leveret_producer.store.returning import Returning


class World:
    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.rows, self.cancels, self.commands = OutboxRows(postgres), Cancels(postgres), Commands(postgres)
        self.returning, self._recording = Returning(postgres), Recording(postgres)
        self.id: UUID = uuid_utils.compat.uuid7()
        self.now = datetime.now(UTC)

    async def submit(self, lease: float = 0, delay: timedelta | None = None) -> None:
        self.now = datetime.now(UTC)
        at = self.now + delay if delay else None
        job = NewJob(Envelope(self.id, QUEUE, "t", b"1", submitted_at=self.now), 5, at, at)
        await Jobs(self.postgres).insert([job], self.now, lease)

    async def publish(self) -> None:
        await self.submit()
        [taken] = await self.rows.take(10)
        assert await self.rows.mark([Publication.of(taken.job, 0)]) == {self.id}

    async def report(self, state: State, seconds: float = 0, **fields: Any) -> Recorded:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        return await self._recording.record([Report(QUEUE, JobEvent(self.id, "t", state, at, "pod", **fields))])

    async def ask(self, generation: int = 1, *, unseen: bool = False, queue: str = QUEUE) -> dict[str, int]:
        return dict((await self.cancels.ask([Wanted(self.id, generation, queue)], unseen=unseen)).ended)

    async def row(self) -> Row[Any]:
        async with self.postgres.transaction() as connection:
            return (await connection.execute(text("SELECT * FROM jobs WHERE id = :id"), {"id": self.id})).one()

    async def standing(self) -> list[int]:
        """Return the generations in which the job's cancel stands."""
        async with self.postgres.transaction() as connection:
            asked = text("SELECT generation FROM cancels WHERE id = :id ORDER BY 1")
            return list((await connection.execute(asked, {"id": self.id})).scalars())

    async def run(self, statement: str) -> None:
        async with self.postgres.transaction() as connection:
            await connection.execute(text(statement), {"id": self.id} if ":id" in statement else {})
