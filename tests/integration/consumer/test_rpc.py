"""Calls on a real broker and to a real consumer, in each reply style, while things break."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
from containers import Server, management
from cuts import line_to
from slow_broker import confirming_at

from leveret.client.rpc import (
    CallError,
    Closed,
    ConnectionConfig,
    Dead,
    DeadlineExceeded,
    Disconnected,
    Published,
    QueueTaken,
    Reply,
    Rpc,
    Style,
)
from leveret.client.rpc.session import UNCONFIRMED
from leveret.settings import Broker

QUEUE = "leveret.under-test"
BENCH = "examples.bench.handlers:handlers"
FIXED = "shop.replies"
AT_ONCE = 40  # calls of each client
CALLS = int(os.environ.get("LEVERET_TEST_CALLS", "300"))  # of each client, where the broker is restarted
BURST = 400  # calls of one client at once
REPLIES_UNDER_WAY = 5  # at a time, of which a consumer may lose some with its connection


def config_of(broker: Broker, **fields: Any) -> ConnectionConfig:
    given = {"user": broker.username, "password": broker.password, "host": broker.host, "port": broker.port}
    return ConnectionConfig(**(given | {"vhost": broker.vhost} | fields))


async def connect(broker: Broker, style: Style, **fields: Any) -> Rpc:
    queue = {Style.FIXED: FIXED, Style.EXCLUSIVE: "shop.exclusive"}.get(style, "")
    return await Rpc.connect(config_of(broker, **fields), style, queue)


def asking(rpc: Rpc, count: int, at_once: int = AT_ONCE) -> "list[asyncio.Task[Reply]]":
    """Call so often."""
    places = asyncio.Semaphore(at_once)

    async def call(n: int) -> Reply:
        async with places:
            return await rpc.call(QUEUE, "echo", {"value": n}, 60)

    return [asyncio.create_task(call(n)) for n in range(count)]


async def ends(calls: "list[asyncio.Task[Reply]]") -> Counter[object]:
    """How many had their own answer, and which errors the others ended with."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    return Counter("right" if isinstance(one, Reply) and one.result == n else type(one) for n, one in enumerate(done))


async def until(seen: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not seen():  # noqa: ASYNC110 - it's another process's doing
            await asyncio.sleep(0.05)


def shop(rabbitmq: Server, vhost: str) -> None:
    """Make the user of the wire contract: it may publish jobs, and have reply queues of its own."""
    management(rabbitmq, "users/shop-rpc", "PUT", {"password": "p@ss/ä", "tags": ""})
    rights = {"configure": r"^shop\.", "write": r"^(leveret\.jobs$|shop\.)", "read": r"^shop\."}
    management(rabbitmq, f"permissions/{vhost}/shop-rpc", "PUT", rights)


async def test_many_calls_in_each_style_by_a_user_with_few_rights(
    rabbitmq: Server, rig: Any, consumer: Callable[..., Any]
) -> None:
    shop(rabbitmq, rig.broker.vhost)
    await consumer(handlers=BENCH, retry='{"maxAttempts":1}', concurrency=50).ready()
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await connect(rig.broker, style, user="shop-rpc", password="p@ss/ä"))
            for style in Style
        ]
        calls = [asking(rpc, 200) for rpc in clients]
        assert [await ends(one) for one in calls] == [Counter(right=200)] * 3
        for rpc in clients:
            with pytest.raises(Dead, match=r"kept in leveret\.under-test\.dead") as raised:
                await rpc.call(QUEUE, "fail", {"times": 1})
            assert (raised.value.reason, raised.value.published) == ("AttemptsExhausted", Published.CONFIRMED)
        assert [rpc.in_flight for rpc in clients] == [0] * 3


async def test_a_burst_of_calls_is_answered_however_late_the_broker_confirms(
    rig: Any, consumer: Callable[..., Any]
) -> None:
    """Of 5,000 calls at once a quarter was lost without a fault: replies that waited for a second counted as stuck."""
    async with confirming_at(rig.broker, lambda now: now + 2) as late, contextlib.AsyncExitStack() as stack:
        one = consumer(handlers=BENCH, concurrency=300, broker_url=late.url())
        await one.ready()
        clients = [await stack.enter_async_context(await connect(rig.broker, style)) for style in Style]
        calls = [asking(rpc, BURST, BURST) for rpc in clients]
        assert [await ends(some) for some in calls] == [Counter(right=BURST)] * 3
        one.signal(signal.SIGTERM)
        assert await one.ended(60) == 0


async def test_a_broker_that_is_restarted_in_the_middle(
    rabbitmq: Server, rig: Any, consumer: Callable[..., Any]
) -> None:
    await consumer(handlers=BENCH, concurrency=20).ready()
    await rig.settle()
    clients = {style: await connect(rig.broker, style) for style in Style}
    calls = {style: asking(rpc, CALLS) for style, rpc in clients.items()}
    await until(lambda: sum(call.done() for call in calls[Style.FIXED]) > 20)
    await asyncio.to_thread(rabbitmq.kill)
    await asyncio.to_thread(rabbitmq.start)
    for style in (Style.DIRECT, Style.EXCLUSIVE):
        ended = await ends(calls[style])
        assert ended["right"] + ended[Disconnected] == CALLS
        assert 0 < ended[Disconnected] <= AT_ONCE
    fixed = calls[Style.FIXED]
    await until(lambda: sum(call.done() for call in fixed) >= CALLS - UNCONFIRMED - REPLIES_UNDER_WAY)
    await clients[Style.FIXED].close(within=1)
    ended = await ends(fixed)
    assert ended["right"] + ended[Closed] == CALLS
    lost = [call.exception() for call in fixed if call.exception()]
    assert sum(isinstance(one, CallError) and one.published is Published.UNKNOWN for one in lost) <= UNCONFIRMED
    clients[Style.FIXED] = await connect(rig.broker, Style.FIXED)
    assert [await ends(asking(rpc, 10)) for rpc in clients.values()] == [Counter(right=10)] * 3
    left = management(rabbitmq, f"queues/{rig.broker.vhost}")
    assert isinstance(left, list)
    names = {one["name"] for one in left if one["name"].startswith(("shop.", "amq."))}
    assert len(names) == 2  # the fixed one, and the exclusive one of the present connection
    for rpc in clients.values():
        await rpc.close()
    (messages,) = await _messages(rig.broker, FIXED)
    assert messages == 0


async def _messages(broker: Broker, *queues: str) -> list[int]:
    async with await aio_pika.connect(broker.url()) as connection, connection.channel() as channel:
        found = [await channel.declare_queue(name, passive=True) for name in queues]
        return [queue.declaration_result.message_count or 0 for queue in found]


@pytest.mark.parametrize("style", list(Style))
async def test_a_connection_that_is_cut(rig: Any, consumer: Callable[..., Any], style: Style) -> None:
    async with (
        line_to(rig.broker.host, rig.broker.port) as line,
        await connect(rig.broker, style, port=line.port) as rpc,
    ):
        calls = asking(rpc, AT_ONCE)
        await until(
            lambda: [call.published for call in rpc._calls._waiting.values()] == [Published.CONFIRMED] * AT_ONCE
        )
        line.hang_up()
        await until(lambda: not rpc.connected)
        later = asking(rpc, 5)
        await consumer(handlers=BENCH).ready()
        assert await ends(calls) == (
            Counter(right=AT_ONCE) if style is Style.FIXED else Counter({Disconnected: AT_ONCE})
        )
        assert await ends(later) == Counter(right=5)


async def test_answers_that_are_none_disturb_nobody(rig: Any, consumer: Callable[..., Any]) -> None:
    messages = [
        aio_pika.Message(b"\xff", correlation_id="unknown", headers={"leveret-outcome": "succeeded"}),
        aio_pika.Message(b"garbage"),
        aio_pika.Message(b"", correlation_id="x" * 255, headers={"leveret-outcome": {"a": [1]}}),
    ]
    async with await connect(rig.broker, Style.FIXED) as rpc, rig.connection.channel() as channel:
        for message in messages:
            await channel.default_exchange.publish(message, FIXED)
        calls = asking(rpc, 5)
        await consumer(handlers=BENCH).ready()
        assert await ends(calls) == Counter(right=5)
        await until(lambda: rpc.orphans >= 3)
    assert await rig.messages(FIXED) == [0]


async def test_a_fixed_queue_has_one_client_and_the_next_one_gets_it_when_that_is_closed(rig: Any) -> None:
    first = await connect(rig.broker, Style.FIXED)
    call = asyncio.create_task(first.call(QUEUE, "echo", {"value": 1}))
    with pytest.raises(QueueTaken, match="has another client"):
        await connect(rig.broker, Style.FIXED)
    assert first.connected
    await first.close(within=0)
    with pytest.raises(Closed):
        await call
    async with await connect(rig.broker, Style.FIXED) as second:
        assert second.connected


async def test_calls_under_an_alarm_end_in_time_and_later_ones_are_answered(
    rabbitmq: Server, rig: Any, consumer: Callable[..., Any]
) -> None:
    await consumer(handlers=BENCH).ready()
    async with await connect(rig.broker, Style.DIRECT) as rpc:
        await _watermark(rabbitmq, "absolute", "1")
        try:
            with pytest.raises(DeadlineExceeded) as first:
                await rpc.call(QUEUE, "echo", {"value": 1}, 2)
            with pytest.raises(DeadlineExceeded, match="short of memory or disk") as second:
                await rpc.call(QUEUE, "echo", {"value": 1}, 0.5)
            assert (first.value.published, second.value.published) == (Published.UNKNOWN, Published.NO)
        finally:
            await _watermark(rabbitmq, "0.6")
        assert await ends(asking(rpc, 5)) == Counter(right=5)


async def _watermark(rabbitmq: Server, *words: str) -> None:
    await asyncio.to_thread(rabbitmq.run, "rabbitmqctl", "-q", "set_vm_memory_high_watermark", *words)
