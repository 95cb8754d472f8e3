"""5,000 waiting jobs are cancelled by a filter; all consumers are replaced while the database is away, and control is old."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from aio_pika.abc import AbstractIncomingMessage
from containers import Server
from producers import database_url, eventually, eventually_true, known, operating, producing, ready

from leveret import events, topology
from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker, Database

QUEUE = "leveret.under-test"
MANY, ALONE = 5_000, 500  # of which no message was sent


async def test_none_starts_and_all_are_cancelled(
    broker: Broker, database: Database, postgres: Server, consumer: Callable[..., Any], witness: Path, tmp_path: Path,
) -> None:  # fmt: skip
    told: dict[UUID, list[str]] = {}

    async def heard(message: AbstractIncomingMessage) -> None:
        _, what = events.decode(message.routing_key or "", message.body)
        for one in what if isinstance(what, list) else []:
            told.setdefault(one.id, []).append(str(one.state))

    async with (
        producing(broker, database) as producer,
        operating(broker, QUEUE),
        await open_connection(broker, "test") as connection,
    ):
        await ready(producer)
        await known(producer, QUEUE)
        channel = await connection.channel()
        copies = await channel.declare_queue(exclusive=True)
        await copies.bind(topology.EVENTS, f"job.{QUEUE}")
        await copies.consume(heard, no_ack=True)
        gate = tmp_path / "gate"
        payload = {"witness": str(witness), "gate": str(gate)}
        one = consumer(module="late_consumer", handlers="cancel_jobs:handlers", concurrency=1)
        await one.ready()
        runs = (await producer.submit({"type": "loop", "payload": payload}, queue=QUEUE)).json()["id"]
        await eventually(lambda: "start" in witness.read_text(), "one runs")
        sql = await asyncpg.connect(database_url(database))
        count = "SELECT count(*) FROM jobs WHERE state = ANY($1::text[])"
        later = [{"type": "loop", "payload": payload, "delay": "15s"}] * ALONE
        assert (await producer.submit(*later, queue=QUEUE)).status_code == 202
        for _ in range(MANY // 1_000):
            jobs = [{"type": "thread" if n % 2 else "loop", "payload": payload} for n in range(1_000)]
            assert (await producer.submit(*jobs, queue=QUEUE)).status_code == 202
        answer = await producer.http.post(
            f"/v1/queues/{QUEUE}/jobs/cancel", json={"filter": {"until": "2099-01-01T00:00:00Z"}}
        )
        assert answer.status_code == 202
        one.signal(signal.SIGKILL)
        await one.ended()

        async def done() -> bool:
            shown = (await producer.http.get(answer.headers["location"])).json()
            return bool(shown["state"] == "done")

        await eventually_true(done, "the operation is done")
        await eventually_true(lambda: _is(sql, "SELECT count(*) FROM outbox", 0), "all are told")
        alone = {row["id"] for row in await sql.fetch("SELECT id FROM jobs WHERE state = 'cancelled'")}
        await sql.close()
        await asyncio.sleep(3)
        told.clear()
        await asyncio.to_thread(postgres.kill)
        try:
            two = consumer(module="late_consumer", handlers="cancel_jobs:handlers", concurrency=20)
            await two.ready()
            gate.touch()
            await eventually(lambda: len(told) >= MANY, "all are told of")
        finally:
            await asyncio.to_thread(postgres.start)
        sql = await asyncpg.connect(database_url(database))
        await eventually_true(lambda: _is(sql, count, MANY + ALONE + 1, ["cancelled"]), "all are cancelled")
        due = "SELECT count(*) FROM jobs WHERE due_at > now()"
        await eventually_true(lambda: _is(sql, due, 0), "those that the database ended would be due")
        await asyncio.sleep(1)
        await sql.close()
        starts = [line.split()[1] for line in witness.read_text().splitlines() if line.startswith("start")]
        assert set(starts) == {runs}
        assert len(alone) >= ALONE
        assert not alone & set(told)


async def _is(sql: asyncpg.Connection, query: str, value: int, *values: object) -> bool:
    found = int(await sql.fetchval(query, *values))
    return found >= value if value else found == 0
