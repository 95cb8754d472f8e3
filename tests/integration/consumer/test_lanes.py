"""Both lanes on a real broker: what comes over them is the same, and so is what their acks lead to."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from containers import Server
from cuts import Line, line_to
from lanes import NAMES, Subscribed, in_lane
from producers import eventually_true
from raw_messages import ODD_TEXTS, Raw, connect, readable

from leveret.rabbitmq.connection import open_connection
from leveret.settings import Broker
from leveret_consumer.acks import LOST
from leveret_consumer.lane import Lane

QUEUE, PREFETCH = "lanes", 100
HEARTBEAT = 2  # s
SENT_AT = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture(params=NAMES)
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    yield from in_lane(request.param)


@pytest.fixture
async def line(broker: Broker) -> AsyncIterator[Line]:
    async with line_to(broker.host, broker.port) as made:
        yield made


@pytest.fixture
async def sender(broker: Broker, lane: Lane) -> AsyncIterator[AbstractConnection]:
    async with await open_connection(broker, "sender") as made:
        async with made.channel() as channel:
            await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        yield made


@pytest.fixture
async def one(sender: AbstractConnection, broker: Broker, line: Line, lane: Lane) -> AsyncIterator[Subscribed]:
    place = replace(broker, port=line.port)
    async with await open_connection(place, "consumer", heartbeat=HEARTBEAT) as connection:
        yield await Subscribed(connection, lane).open(QUEUE, PREFETCH)


async def publish(sender: AbstractConnection, *bodies: bytes, **properties: Any) -> None:
    async with sender.channel() as channel:
        messages = [aio_pika.Message(body, **properties) for body in bodies]
        await asyncio.gather(*(channel.default_exchange.publish(message, QUEUE) for message in messages))


async def ready(sender: AbstractConnection) -> int:
    async with sender.channel() as channel:
        return (await channel.declare_queue(QUEUE, passive=True)).declaration_result.message_count or 0


async def unacknowledged(rabbitmq: Server, broker: Broker) -> int:
    words = ("-q", "--formatter", "json", "list_queues", "-p", broker.vhost, "messages_unacknowledged")
    said = await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", *words)
    return int(json.loads(said)[0]["messages_unacknowledged"])


async def test_a_prefetch_is_drained_with_multiple_acks_and_single_ones(
    sender: AbstractConnection, one: Subscribed, rabbitmq: Server, broker: Broker
) -> None:
    await publish(sender, *(str(number).encode() for number in range(3 * PREFETCH)))
    for turn in range(3):
        came = (await one.has((turn + 1) * PREFETCH))[-PREFETCH:]
        assert not one.subscription.has_room
        held, *rest = came
        await one.acknowledge(*rest[::2])  # one by one, because the first is out
        await one.acknowledge(held, *rest[1::2])
    assert [message.body for message in one.came] == [str(number).encode() for number in range(3 * PREFETCH)]
    assert [message.delivery_tag for message in one.came] == list(range(1, 3 * PREFETCH + 1))

    async def none_is_out() -> bool:
        return await unacknowledged(rabbitmq, broker) == 0

    await eventually_true(none_is_out, "all acks have arrived", 30)
    async with asyncio.timeout(30):
        await one.subscription.cancel()
        await one.subscription.retire()
    assert await ready(sender) == 0, "nothing came back"


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 1024 * 1024])  # bytes, around what a frame holds
async def test_a_message_is_whole_whatever_its_size(sender: AbstractConnection, one: Subscribed, size: int) -> None:
    bodies = [b"before", bytes(number % 251 for number in range(size)), b"after"]
    for body in bodies:
        await publish(sender, body)
    came = await one.has(3)
    assert [message.body for message in came] == bodies
    await one.acknowledge(*came)


async def test_all_properties_come(sender: AbstractConnection, one: Subscribed) -> None:
    properties: dict[str, Any] = {
        "content_type": "application/json", "content_encoding": "gzip", "priority": 3, "correlation_id": "c",
        "reply_to": "answers", "message_id": "m", "timestamp": SENT_AT, "type": "t", "app_id": "a",
        "headers": {"ä": "ö", "n": 2**40, "list": [1, "x"], "table": {"a": True}, "none": None},
    }  # fmt: skip
    await publish(sender, b"{}", **properties)
    (message,) = await one.has(1)
    assert {name: getattr(message, name) for name in properties} == properties
    assert (message.consumer_tag, message.delivery_tag, message.redelivered) == ("tag", 1, False)


async def test_what_was_given_back_comes_redelivered(sender: AbstractConnection, one: Subscribed) -> None:
    await publish(sender, b"again")
    (message,) = await one.has(1)
    await message.nack()
    _, again = await one.has(2)
    assert (again.body, again.redelivered, again.delivery_tag) == (b"again", True, 2)
    await one.acknowledge(again)


async def test_a_routing_key_that_is_no_text_is_read(
    sender: AbstractConnection, one: Subscribed, broker: Broker
) -> None:
    def send() -> None:
        foreign = connect(broker.host, broker.port, broker.username, broker.password, broker.vhost)
        channel = foreign.channel()
        channel.exchange_declare("odd", "fanout", durable=True)
        channel.queue_bind(QUEUE, "odd")
        for key in ODD_TEXTS.values():
            channel.basic_publish("odd", key, b"{}", Raw(correlation_id=key))
        foreign.close()

    await asyncio.to_thread(send)
    came = await one.has(len(ODD_TEXTS))
    assert [message.correlation_id for message in came] == [readable(key) for key in ODD_TEXTS.values()]
    await one.acknowledge(*came)
    assert one.lost == []


async def test_on_a_channel_that_the_broker_closes_acks_are_lost_and_all_comes_back(
    sender: AbstractConnection, one: Subscribed
) -> None:
    await publish(sender, *[b"{}"] * PREFETCH)
    came = await one.has(PREFETCH)
    for message in came[10:20]:
        message.ack_soon(one.told.append)
    await one.lane.acknowledge(one.channel, [(10_000, False)])  # which the broker has never delivered
    await one.until(lambda: bool(one.lost))
    with pytest.raises(LOST):
        await came[0].ack()
    with pytest.raises(LOST):
        await came[1].nack()
    assert all(problem is None or isinstance(problem, LOST) for problem in one.told)

    async def is_back() -> bool:
        return await ready(sender) in range(PREFETCH - 10, PREFETCH + 1)

    await eventually_true(is_back, "the broker has taken back what was out", 30)
    anew = await Subscribed(one.connection, one.lane).open(QUEUE, PREFETCH)  # the connection goes on
    await anew.until(lambda: len(anew.came) >= PREFETCH - 10)
    await anew.acknowledge(*anew.came)


async def test_a_queue_that_is_deleted_ends_the_consumer_and_nothing_else(
    sender: AbstractConnection, one: Subscribed
) -> None:
    await publish(sender, b"{}")
    (message,) = await one.has(1)
    async with sender.channel() as channel:
        await channel.queue_delete(QUEUE)
    async with asyncio.timeout(30):
        await one.subscription.gone.wait()
    await message.ack()
    assert one.lost == []
    async with one.connection.channel() as channel:
        await channel.declare_queue(exclusive=True)


async def test_what_a_cut_leaves_within_a_frame_comes_again_on_the_next_connection(
    sender: AbstractConnection, one: Subscribed, line: Line
) -> None:
    await publish(sender, b"first")
    (first,) = await one.has(1)
    line.pause = 0.001  # after each octet: it takes minutes
    await publish(sender, b"x" * 100_000)
    await asyncio.sleep(0.5)
    line.hang_up()
    await one.until(lambda: bool(one.lost))
    with pytest.raises(LOST):
        await first.ack()
    assert len(one.came) == 1
    line.pause = 0
    again = await Subscribed(sender, one.lane).open(QUEUE)
    came = await again.has(2)
    assert sorted(len(message.body) for message in came) == [5, 100_000]
    assert {message.body: message.redelivered for message in came}[b"first"]
    await again.acknowledge(*came)


@pytest.mark.parametrize("publishes", [False, True], ids=["not blocked", "blocked"])
async def test_under_an_alarm_acks_are_written_and_the_connection_lives(
    sender: AbstractConnection, one: Subscribed, rabbitmq: Server, broker: Broker, publishes: bool
) -> None:
    """The broker reads nothing more from a connection that publishes; what it only delivers to goes on."""
    await publish(sender, *[b"{}"] * 10)
    came = await one.has(10)
    publishing: list[asyncio.Task[None]] = []

    async def none_is_out() -> bool:
        return await unacknowledged(rabbitmq, broker) == 0

    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", "set_vm_memory_high_watermark", "absolute", "1")
    try:
        if publishes:
            publishing.append(asyncio.create_task(publish(one.connection, b"late")))
            assert one.connection.transport
            unblocked = one.connection.transport.connection._Connection__connection_unblocked  # type: ignore[attr-defined]
            await one.until(lambda: not unblocked.is_set())
        await one.acknowledge(*came[::2])
        await asyncio.sleep(2 * HEARTBEAT)
        await one.acknowledge(*came[1::2])
        if not publishes:
            await eventually_true(none_is_out, "all acks have arrived", 30)
    finally:
        await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", "set_vm_memory_high_watermark", "0.6")
    if publishes:
        await asyncio.gather(*publishing)
        await one.acknowledge(*(await one.has(11))[10:])
    await eventually_true(none_is_out, "all acks have arrived", 30)
    assert (one.lost, set(one.told)) == ([], {None})


@pytest.mark.parametrize("name", NAMES)
async def test_a_consumer_works_in_the_lane_that_it_is_told(rig: Any, consumer: Callable[..., Any], name: str) -> None:
    one = consumer(handlers="examples.bench.handlers:handlers", concurrency=50, lane=name)
    await one.ready()
    jobs = [await rig.submit("sleep", {"seconds": number % 7 / 100}) for number in range(300)]
    ends = await rig.final(*jobs, seconds=60)
    assert {(str(end.state), end.delivery) for end in ends} == {("succeeded", 0)}
    one.signal(signal.SIGTERM)
    assert await one.ended() == 0
    assert await rig.ready_messages() == 0, "nothing came back as the connection ended"
