"""Mails, runs of their jobs and SMTP servers, in the test's own process on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from examples.mailer.backends import Backends
from examples.mailer.sending import Mailer
from examples.mailer.settings import Settings
from examples.mailer.smtp_server import Witness, protocols
from examples.mailer.store import Store
from leveret import Context

SENDER = "mailer@example.com"


@dataclass
class Post:
    """Two SMTP servers, mails, and runs of their jobs."""

    folder: Path
    store: Store
    url: str
    servers: list[Witness] = field(default_factory=list)
    settings: Settings = field(default_factory=lambda: Settings(SENDER, requeues=3, reply_seconds=0.3))

    def mailer(self) -> Mailer:
        """Make what a consumer's process has."""
        return Mailer(self.store, self.settings, Backends(self.folder / "backends.json"))

    async def mail(self, *recipients: str) -> UUID:
        id = uuid4()  # noqa: A001
        await self.store.add(id, f"<{id}@example.com>", recipients or ["a@example.com"], "Hello", "Hello")
        await self.sql(
            "UPDATE emails SET job = NULL WHERE id = $1", id
        )  # it is that of the first run that a test makes
        return id

    async def seen(self, id: UUID) -> dict[str, Any]:
        row = await self.store.view(id)
        assert row is not None
        return dict(row)

    def counts(self, id: UUID) -> list[int]:
        return [[one["message_id"] for one in server.taken()].count(f"<{id}@example.com>") for server in self.servers]

    async def sql(self, text: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(text, *values))
        finally:
            await connection.close()


@asynccontextmanager
async def listening(witness: Witness, **more: Any) -> AsyncIterator[int]:
    context, implicit = more.get("context"), more.get("implicit", False)
    server = await asyncio.get_running_loop().create_server(
        protocols(witness, **more), "127.0.0.1", 0, ssl=context if implicit else None
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def run_of(job: UUID, generation: int = 1) -> Context:
    return Context(job_id=job, generation=generation, deadline=datetime.now(UTC) + timedelta(seconds=180))
