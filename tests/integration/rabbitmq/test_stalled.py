"""A channel that is closed under an alarm, with messages on their way to it: the others of its connection go on."""

import asyncio

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from containers import Server

from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker

HEARTBEAT = 2  # s; the client library waits as long for the answer to a close
LASTS = 3.0  # s
MORE = 20  # messages; ten frames filled a channel that nobody read, and each is three

TO_WRITE = [
    pytest.param(4_000_000, id="more than sockets hold: the close is the last that the broker reads"),
    pytest.param(1, id="little: the close waits in the socket"),
]


@pytest.mark.parametrize("size", TO_WRITE)
async def test_a_channel_that_was_closed_under_an_alarm_holds_up_nobody(
    rabbitmq: Server, broker: Broker, size: int
) -> None:
    """The reader of the connection waited for ever for somebody to read that channel, or the broker closed it: 185 jobs stood."""
    async with (
        await open_connection(broker, "one", heartbeat=HEARTBEAT) as one,
        await open_connection(broker, "other", heartbeat=HEARTBEAT) as other,
    ):
        listens, publishes, tells = await one.channel(), await one.channel(), await other.channel()
        queue = await listens.declare_queue(exclusive=True, auto_delete=True)
        await queue.consume(_take, no_ack=True)
        await publishes.declare_queue("results", durable=True)
        await _ctl(rabbitmq, "set_disk_free_limit", "9000000000000000")
        try:
            result, word = aio_pika.Message(b"x" * size), aio_pika.Message(b"{}")
            publishing = [
                asyncio.create_task(publishes.default_exchange.publish(result, "results")) for _ in range(8)
            ] + [asyncio.create_task(tells.default_exchange.publish(word, queue.name)) for _ in range(MORE)]
            await asyncio.sleep(0.5)
            closing = asyncio.create_task(listens.close())
            await asyncio.sleep(LASTS)
        finally:
            await _ctl(rabbitmq, "set_disk_free_limit", "50MB")
        async with asyncio.timeout(20):
            await asyncio.gather(*publishing, closing)
            async with one.channel() as channel:  # it has the number of the one that is closed
                assert (await channel.declare_queue("results", passive=True)).declaration_result.message_count == 8
        assert one.connected.is_set()


async def _take(message: AbstractIncomingMessage) -> None:
    pass


async def _ctl(rabbitmq: Server, *words: str) -> None:
    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *words)
