"""Leveret's consumer as it runs in a pod; its jobs are published as the producer's outbox writes them."""

import json
from datetime import UTC, datetime
from typing import Any

import aio_pika
import uuid_utils.compat as uuid_utils
import uvloop

from bench import references
from bench.peers.adapters import AT_ONCE, QUEUE, URL, run_async
from leveret import Context, Handlers, topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.declare import declare

handlers = Handlers()


@handlers.job("job")
async def run(ctx: Context, job: dict[str, Any]) -> None:
    await run_async(job)


async def _publish(jobs: list[dict[str, Any]]) -> None:
    now = datetime.now(UTC)
    bodies = (json.dumps(job).encode() for job in jobs)
    messages = [wire.to_message(Envelope(uuid_utils.uuid7(), QUEUE, "job", body, submitted_at=now)) for body in bodies]
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        await declare(channel, topology.shared())
        await declare(channel, topology.for_queue(QUEUE))
        await references.publish(connection, QUEUE, messages, AT_ONCE)


def publish(jobs: list[dict[str, Any]]) -> None:
    uvloop.run(_publish(jobs))
