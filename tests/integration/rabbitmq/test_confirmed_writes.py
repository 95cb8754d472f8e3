"""What is published in one turn goes out together, and each has an answer of its own."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import DeliveryError, PublishError

from leveret.rabbitmq.confirmed_writes import MOST, ConfirmedWrites
from leveret.rabbitmq.connection import BrokerErrors, open_connection
from leveret.settings import Broker

QUEUE, FULL = "written-together", "written-together.full"


@pytest.fixture
async def channel(broker: Broker) -> AsyncIterator[AbstractChannel]:
    async with await open_connection(broker, "test") as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(QUEUE, exclusive=True)
        await channel.declare_queue(FULL, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        yield channel


async def send(
    writes: ConfirmedWrites, queue: str, body: bytes, *, mandatory: bool = False, id: str | None = None
) -> None:
    message = aio_pika.Message(body, correlation_id=str(len(body)), message_id=id)
    await writes.send("", queue, message, mandatory=mandatory)


async def bodies(channel: AbstractChannel) -> list[bytes]:
    queue = await channel.get_queue(QUEUE)
    found = []
    while got := await queue.get(no_ack=True, fail=False):
        assert got.correlation_id == str(len(got.body))
        found.append(got.body)
    return found


async def test_each_arrives_once_in_its_order_and_is_answered_by_itself(channel: AbstractChannel) -> None:
    """Beside one that nobody has a queue for, those that a full queue refuses, and one that can't be written."""
    writes = ConfirmedWrites(channel)
    sent = [b"x" * size for size in (0, 1, 5_000, MOST - 1, 200_000, 2 * MOST, *range(10, 300))]
    answers = await asyncio.gather(
        *(send(writes, QUEUE, body) for body in sent),
        send(writes, "nobody has it", b"gone"),
        send(writes, "nobody has it", b"returned", mandatory=True),
        send(writes, "nobody has it", b"returned", mandatory=True, id="known"),
        send(writes, QUEUE, b"mandatory", mandatory=True, id="known, too"),
        send(writes, FULL, b"one"),
        send(writes, FULL, b"two"),
        send(writes, "q" * 256, b"a name that is too long"),
        return_exceptions=True,
    )
    *arrived, gone, nameless, named, taken, first, refused, unwritten = answers
    assert [*arrived, gone, taken, first] == [None] * (len(sent) + 3)
    assert [type(one) for one in (nameless, named, refused)] == [PublishError, PublishError, DeliveryError]
    assert isinstance(unwritten, ValueError)
    assert await bodies(channel) == [*sent, b"mandatory"]
    assert not (await channel.get_underlay_channel()).message_id_delivery_tag


async def test_who_gives_up_before_the_write_takes_nobodys_answer(channel: AbstractChannel) -> None:
    """Nor do publishes of the client library's own, which number theirs on the same channel."""
    writes = ConfirmedWrites(channel)
    sending = [asyncio.create_task(send(writes, QUEUE, b"x" * size)) for size in range(1, 101)]
    own = [
        asyncio.create_task(
            channel.default_exchange.publish(aio_pika.Message(b"y" * 1_000, correlation_id="1000"), QUEUE)
        )
        for _ in range(5)
    ]
    await asyncio.sleep(0)
    for one in sending[::3]:
        one.cancel()
    answers = await asyncio.gather(*sending, *own, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in answers[:100]] == [at % 3 == 0 for at in range(100)]
    await asyncio.gather(*(send(writes, QUEUE, b"z") for _ in range(3)))
    found = await bodies(channel)
    assert {len(body) for body in found} >= {at + 1 for at in range(100) if at % 3}
    assert (found.count(b"y" * 1_000), found[-3:]) == (5, [b"z"] * 3)


async def test_a_closed_channel_answers_whoever_waits(channel: AbstractChannel) -> None:
    writes = ConfirmedWrites(channel)
    sending = [asyncio.create_task(send(writes, QUEUE, b"x")) for _ in range(10)]
    await asyncio.sleep(0)
    await channel.close()
    answers = await asyncio.gather(*sending, return_exceptions=True)
    assert all(one is None or isinstance(one, (*BrokerErrors, asyncio.CancelledError)) for one in answers)
    with pytest.raises(BrokerErrors):
        await send(writes, QUEUE, b"x")


async def test_a_write_that_waits_for_a_broker_that_takes_nothing_ends_with_its_connection(
    channel: AbstractChannel,
) -> None:
    underlay = await channel.get_underlay_channel()
    before = asyncio.all_tasks()
    underlay.write_queue = asyncio.Queue(1)
    underlay.write_queue.put_nowait(None)
    sending = [asyncio.create_task(send(ConfirmedWrites(channel), QUEUE, b"x")) for _ in range(3)]
    await asyncio.sleep(0.05)
    await underlay.connection.close(ConnectionResetError())
    answers = await asyncio.wait_for(asyncio.gather(*sending, return_exceptions=True), 30)
    assert all(isinstance(one, (*BrokerErrors, asyncio.CancelledError)) for one in answers)
    await asyncio.sleep(0.05)
    assert not {task for task in asyncio.all_tasks() - before if "_write" in repr(task.get_coro())}
