"""Channels on a real broker, counted on both sides: of queues that are missing, and of jobs that fail together."""

import asyncio
import gc
import tracemalloc
import urllib.request
from collections.abc import Callable
from typing import Any

from aio_pika.abc import AbstractIncomingMessage
from containers import Server

from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.few_channels import MOST
from leveret_consumer.intake import Intake
from leveret_consumer.lane import Own
from leveret_consumer.prefetch import Terms

TRIES = 250  # of each queue


class Tries:
    """Of a queue, until there is one or it has been tried for often enough."""

    def __init__(self, connection: Any, queue: str, *, source: bool = False) -> None:
        self.queue, self.failed, self.consuming = queue, 0, asyncio.Event()
        self.stop, self.enough = asyncio.Event(), asyncio.Event()
        self.intake = Intake(
            connection, queue, "pod", self.take, self, terms=lambda: Terms(1), lane=Own(), single_active=source,
            looks_for_queue_every=0.001,
        )  # fmt: skip

    async def take(self, message: AbstractIncomingMessage) -> None: ...

    def consumes(self) -> None:
        self.consuming.set()

    def waits(self, because: str) -> None:
        self.failed += 1
        if self.failed >= TRIES:
            self.enough.set()


def channels(rabbitmq: Server, what: str = "rabbitmq_channels") -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{rabbitmq.ports[15692]}/metrics", timeout=10) as answer:
        values = [line.split()[-1] for line in str(answer.read(), "utf-8").splitlines() if line.startswith(f"{what} ")]
    return int(float(values[0]))


async def test_tries_of_missing_queues_leave_nothing(rig: Any, rabbitmq: Server) -> None:
    """The own queue's and the source's; each try left a channel's worth of memory on the connection."""
    async with await open_connection(rig.broker, "missing queues") as connection:
        assert connection.transport
        raw = connection.transport.connection
        tries = [Tries(connection, "leveret.missing"), Tries(connection, "leveret.missing.dead", source=True)]

        def left() -> tuple[int, int]:
            gc.collect()
            futures = [one for one in gc.get_objects() if isinstance(one, asyncio.Future)]
            return len(futures), len(raw._closing._callbacks)

        running = [asyncio.create_task(one.intake.run(one.stop)) for one in tries]
        await asyncio.sleep(0.5)
        tracemalloc.start()
        try:
            futures, observers = left()
            before, there = tracemalloc.get_traced_memory()[0], channels(rabbitmq)
            async with asyncio.timeout(120):
                await asyncio.gather(*(one.enough.wait() for one in tries))
            after = left()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert after[0] <= futures + 30
        assert after[1] <= observers + 4
        assert grown < 300_000, "it was 3 to 4 KB each, 1.7 MB"
        assert channels(rabbitmq) <= there + 4
        assert len(raw.channels) <= 4
        channel = await rig.connection.channel()
        for one in tries:  # the broker hangs up on who consumes from a queue in the moment in which it makes it (541)
            one.intake._looks_for_queue_every = 1.0
        for one in tries:
            await channel.declare_queue(one.queue, durable=True, arguments={"x-queue-type": "quorum"})
        async with asyncio.timeout(5):
            await asyncio.gather(*(one.consuming.wait() for one in tries))
        for one in tries:
            one.stop.set()
        await asyncio.gather(*running)


async def test_a_thousand_redelivered_jobs_that_fail_together_open_few_channels(
    rig: Any, consumer: Callable[..., Any], rabbitmq: Server
) -> None:
    """Each asked on a channel of its own whether the broker would take its copy."""
    jobs = [await rig.submit("fail", {"times": 1}) for _ in range(1_000)]
    held: list[AbstractIncomingMessage] = []
    async with await open_connection(rig.broker, "a consumer that goes") as gone, gone.channel() as channel:

        async def hold(message: AbstractIncomingMessage) -> None:
            held.append(message)

        await (await channel.get_queue("leveret.under-test", ensure=False)).consume(hold)
        async with asyncio.timeout(60):
            while len(held) < len(jobs):  # noqa: ASYNC110 - it counts what comes
                await asyncio.sleep(0.05)
    one = consumer(handlers="examples.bench.handlers:handlers", concurrency=1_000, retry='{"maxAttempts":1}')
    await one.ready()
    opened = channels(rabbitmq, "rabbitmq_channels_opened_total")
    ends = await rig.final(*jobs, seconds=120)
    assert {str(end.state) for end in ends} == {"dead"}
    # The prefetch may be changed once meanwhile, on a channel of its own; and one looks at the queue.
    assert channels(rabbitmq, "rabbitmq_channels_opened_total") - opened <= MOST + 2
