"""The recorder answers for dead jobs beside what it records: a reply queue that hangs costs it nothing."""

import asyncio
import time
from uuid import uuid4

import aio_pika
from containers import Server
from hung_queue import hung
from producers import producing, ready

from leveret import topology
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker, Database

NOBODYS = "leveret.nobodys"


async def test_dead_letters_whose_reply_queue_hangs_are_recorded_at_once_and_others_are_answered(
    broker: Broker, database: Database, rabbitmq: Server
) -> None:
    """Each batch waited 10 s for their confirms, on the channel that it sets events aside on."""
    async with producing(broker, database) as producer, await open_connection(broker, "client") as client:
        await ready(producer)
        channel = await client.channel()
        await channel.declare_queue("hung", durable=True, arguments={"x-queue-type": "quorum"})
        mine = await channel.declare_queue(exclusive=True)
        publisher = await Publisher.open(client)

        async def submit(reply_to: str) -> None:
            message = aio_pika.Message(b"{}", message_id=str(uuid4()), type="t", reply_to=reply_to)
            await publisher.publish(topology.JOBS, NOBODYS, message)

        with hung(rabbitmq, broker, "hung"):
            begun = time.monotonic()
            await asyncio.gather(*(submit("hung") for _ in range(200)))
            await submit(mine.name)
            async with asyncio.timeout(60):
                while not await mine.get(fail=False, no_ack=True):  # noqa: ASYNC110 - it comes when it comes
                    await asyncio.sleep(0.05)
            assert time.monotonic() - begun < 30, "each batch waited 10 s"
            dropped = producer.metrics.registry.get_sample_value
            while not dropped("leveret_replies_dropped_total", {"queue": "", "reason": "crowded"}):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
