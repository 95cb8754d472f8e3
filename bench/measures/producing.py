"""A producer process that knows the queue, seen from all sides: its HTTP API, its broker and its database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg
import httpx

from bench.measures.broker_side import QUEUE, BrokerSide, broker_side
from bench.processes import Failed, Process, running
from bench.servers import Servers
from bench.versions import TODAY, Version
from tests.support.containers import free_port

TOKEN = "token of the benchmark"  # noqa: S105 - of a producer that lives for a minute on the loopback address

STORED = ("jobs", "payloads", "attempts")
_ALL_CONFIRMED = "SELECT NOT EXISTS (SELECT FROM jobs WHERE published_at IS NULL)"


@dataclass(frozen=True, slots=True)
class Producing:
    process: Process
    port: int  # of its HTTP API
    http: httpx.AsyncClient
    broker: BrokerSide
    database: asyncpg.Connection

    async def submit(self, body: bytes, jobs: int) -> None:
        """Post a list of jobs; raise Failed if not all of them are accepted."""
        answer = await self.http.post(f"/v1/queues/{QUEUE}/jobs", content=body)
        if answer.status_code != 202 or answer.content.count(b'"id"') != jobs:
            raise Failed(f"the producer answered {answer.status_code} to a list of {jobs} jobs: {answer.text[:500]}")

    async def until_confirmed(self) -> float:
        """Wait until the outbox is empty; return the time of that."""
        return await self.until_true("the outbox is empty", _ALL_CONFIRMED)

    async def until_true(self, what: str, query: str) -> float:
        """Wait until the database answers true."""

        async def asked() -> bool:
            return bool(await self.database.fetchval(query))

        return await self.process.until(what, asked)

    async def clear(self, tables: Sequence[str], queues: Sequence[str]) -> None:
        """Make a clean table for the next turn."""
        for table in tables:
            await self.database.execute(f"TRUNCATE {table}")
        await self.broker.empty(*queues)


@contextlib.asynccontextmanager
async def producing(servers: Servers, name: str, version: Version = TODAY) -> AsyncIterator[Producing]:
    """Run a version's producer and make the queue known to it; the name is that of its place."""
    place = servers.place(name)
    port = free_port()
    settings = {
        "LEVERET_BROKER_URL": place.broker.url(),
        "LEVERET_DATABASE_URL": place.database_url(),
        "LEVERET_TOKEN": TOKEN,
        "LEVERET_LISTEN_PORT": str(port),
        "LEVERET_METRICS_PORT": str(free_port()),
        "LEVERET_POD": "bench",
        "LEVERET_LOG": "json",
    }
    async with (
        broker_side(place.broker) as broker,
        running("leveret_producer", settings, version) as process,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
            timeout=30,
            trust_env=False,  # a proxy for the world outside has no say here
        ) as http,
    ):
        await broker.define_queue()
        await process.until("the producer knows the queue", lambda: _knows(http))
        database = await asyncpg.connect(place.database_url())
        try:
            yield Producing(process, port, http, broker, database)
        finally:
            await asyncio.shield(database.close(timeout=5))


async def _knows(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get(f"/v1/queues/{QUEUE}")).status_code == 200
    except httpx.TransportError:
        return False
