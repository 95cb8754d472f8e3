"""Jobs that end their consumer's process, on a real broker: counted, and given up at the JobQueue's limit."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from leveret import topology, wire
from leveret.rabbitmq.connection import open_connection

BENCH = "examples.bench.handlers:handlers"
CRASHED = 137


async def test_a_job_that_ends_its_process_is_delivered_again_and_counts_it(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    job = await rig.submit("crash", {"times": 2})
    for _ in range(2):
        assert await consumer(handlers=BENCH).ended(60) == CRASHED
    await consumer(handlers=BENCH).ready()
    (end,) = await rig.final(job, seconds=60)
    assert (bytes(end.result), end.delivery, end.attempt) == (b"2", 2, 1)
    assert rig.dead_letters == []


async def test_at_the_delivery_limit_it_is_a_dead_letter_and_not_run_again(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    job = await rig.submit("crash", {"times": 99})
    logs: list[Path] = []
    for _ in range(2):
        one = consumer(handlers=BENCH, delivery_limit=2)
        logs.append(one.log)
        assert await one.ended(60) == CRASHED
    last = consumer(handlers=BENCH, delivery_limit=2)
    logs.append(last.log)
    (end,) = await rig.final(job, seconds=60)
    dead = await rig.dead(60)
    assert (str(end.state), end.error.reason) == ("dead", "DeliveryLimit")
    assert (dead.message_id, dead.headers[wire.REASON]) == (str(job), "DeliveryLimit")
    assert json.loads(dead.headers[wire.ERROR])["message"].startswith("2 times a consumer took the job and did not")
    assert sum(log.read_text().count("bench job runs") for log in logs) == 2, "with a limit of N it is run N times"
    (after,) = await rig.final(await rig.submit("noop", {}), seconds=60)
    assert str(after.state) == "succeeded"
    assert last.readiness()[0]


async def test_the_consumers_limit_comes_before_the_brokers_own(rig: Any, consumer: Callable[..., Any]) -> None:
    """The broker drops a message after 21 deliveries that failed; a consumer without a limit of its own sets 20."""
    job = await rig.submit("noop", {})
    async with await open_connection(rig.broker, "crashes") as connection:
        for _ in range(topology.BROKER_DELIVERY_LIMIT):
            channel = await connection.channel()
            got: asyncio.Queue[Any] = asyncio.Queue()
            await (await channel.get_queue("leveret.under-test", ensure=False)).consume(got.put)
            await asyncio.wait_for(got.get(), 60)
            await channel.close()  # as a process that ends: the message counts as failed
    await consumer(handlers=BENCH).ready()
    (end,) = await rig.final(job, seconds=60)
    dead = await rig.dead(60)
    assert (end.error.reason, end.delivery) == ("DeliveryLimit", 20)
    assert dead.headers[wire.REASON] == "DeliveryLimit", "written by the consumer, not by the broker"
