"""A broker under an alarm reads nothing: what fills the socket and the queue behind it waits, and the connection lives."""

import asyncio
from functools import partial

import aio_pika
from containers import Server

from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, Publisher, until_confirmed
from leveret.settings import Broker

HEARTBEAT = 3  # s
LASTS = 14.0  # s; the client library ended the connection after 12 without room for a heartbeat
CHANNELS, EACH, SIZE = 15, 20, 250_000  # more than sockets, and the queue before them, hold


async def test_large_messages_under_an_alarm_wait_for_its_end_and_are_there_once(
    rabbitmq: Server, broker: Broker
) -> None:
    """Heartbeats that found no room ended the connection, and all that had ended on it ran again."""
    alarm = Alarm()
    async with await open_connection(broker, "large", heartbeat=HEARTBEAT) as connection:
        async with connection.channel() as channel:
            await channel.declare_queue("large", durable=True)
        watch = asyncio.create_task(alarm.watch(connection))
        publishers = [await Publisher.open(connection, alarm=alarm) for _ in range(CHANNELS)]
        await _ctl(rabbitmq, "set_vm_memory_high_watermark", "absolute", "1")
        try:
            message = aio_pika.Message(b"x" * SIZE)
            publishing = [
                asyncio.create_task(
                    until_confirmed(partial(one.publish, "", "large", message, LATE_CONFIRM_TIMEOUT), "a copy")
                )
                for one in publishers
                for _ in range(EACH)
            ]
            await asyncio.sleep(LASTS)
            assert (connection.connected.is_set(), alarm.raised) == (True, True)
            assert not any(task.done() for task in publishing)
        finally:
            await _ctl(rabbitmq, "set_vm_memory_high_watermark", "0.6")
        async with asyncio.timeout(60):
            await asyncio.gather(*publishing)
        async with connection.channel() as channel:
            there = (await channel.declare_queue("large", passive=True)).declaration_result.message_count
        assert there == CHANNELS * EACH
        watch.cancel()
        await asyncio.wait({watch})


async def _ctl(rabbitmq: Server, *words: str) -> None:
    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", *words)
