"""Leveret's consumer as it runs in a pod; its jobs are published as the producer's outbox writes them."""

import json

import aio_pika
import uuid_utils.compat as uuid_utils

from bench import references
from bench.peers import QUEUE
from bench.peers.adapters import AT_ONCE, URL, Job, run_async
from leveret import Context, Handlers, topology, wire
from leveret.jobs import Envelope
from leveret.rabbitmq.declare import declare

handlers = Handlers()


@handlers.job("job")
async def run(ctx: Context, job: Job) -> None:
    await run_async(job)


async def publish(jobs: list[Job]) -> None:
    envelopes = (Envelope(uuid_utils.uuid7(), QUEUE, "job", json.dumps(job).encode()) for job in jobs)
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        await declare(channel, topology.shared())
        await declare(channel, topology.for_queue(QUEUE))
        await references.publish(connection, QUEUE, [wire.to_message(one) for one in envelopes], AT_ONCE)
