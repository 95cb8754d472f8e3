"""A real broker behind a line that is cut: the work is stopped before the broker gives it to anybody else.

At a tenth of a consumer's heartbeat, so the broker waits for 8 to 12 s.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from cuts import Line, line_to
from producers import eventually

from leveret.rabbitmq.connection import open_connection, stay_connected
from leveret.rabbitmq.liveness import LIMIT, STOPS_WITHIN
from leveret.settings import Broker

HEARTBEAT = 4  # s
SLACK = 2.0  # s of a busy machine


@dataclass
class Seen:
    started: float = 0.0
    stopped: float = 0.0
    given_to_another: float = 0.0


def both_ways(line: Line) -> None:
    line.cut_to_broker()
    line.cut_to_client()


CUTS: dict[str, Callable[[Line], None]] = {
    "both ways": both_ways,
    "from us to the broker": Line.cut_to_broker,
    "from the broker to us": Line.cut_to_client,
}


async def _one(broker: Broker, queue: str, seen: Seen) -> None:
    """Work that stays connected over such a line, and takes one message."""

    async def work(connection: AbstractConnection) -> None:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)

        async def take(message: AbstractIncomingMessage) -> None:
            seen.started = seen.started or time.monotonic()

        await (await channel.declare_queue(queue, auto_delete=False, durable=True)).consume(take)
        try:
            await asyncio.Event().wait()
        finally:
            seen.stopped = seen.stopped or time.monotonic()

    await stay_connected(lambda: broker, queue, work, opens=partial(open_connection, heartbeat=HEARTBEAT))


async def _another(connection: AbstractConnection, queue: str, seen: Seen) -> None:
    async def take(message: AbstractIncomingMessage) -> None:
        seen.given_to_another = time.monotonic()
        await message.ack()

    await (await (await connection.channel()).get_queue(queue, ensure=False)).consume(take)


async def _cut(broker: Broker, other: AbstractConnection, kind: str) -> None:
    seen, queue = Seen(), f"cut {kind}"
    async with line_to(broker.host, broker.port) as line:
        working = asyncio.create_task(_one(replace(broker, port=line.port), queue, seen))
        await eventually(lambda: line._clients != [], "it is connected")
        async with other.channel() as channel:
            await channel.declare_queue(queue, durable=True)
            await channel.default_exchange.publish(aio_pika.Message(b""), queue)
        await eventually(lambda: seen.started > 0, "it has the message")
        await _another(other, queue, seen)
        cut = time.monotonic()
        CUTS[kind](line)
        await eventually(lambda: seen.given_to_another > 0, "another has the message")
        working.cancel()
        await asyncio.wait({working})
    assert 0 < seen.stopped < seen.given_to_another, f"{kind}: both had it at the same time"
    assert seen.stopped - cut < LIMIT * HEARTBEAT + STOPS_WITHIN + SLACK, kind


async def _slow(broker: Broker) -> None:
    """A heartbeat takes as long as two; the broker hears us, and we it."""
    async with line_to(broker.host, broker.port) as line:
        connection = await open_connection(replace(broker, port=line.port), "slow", heartbeat=HEARTBEAT)
        line.pause = 0.4
        await asyncio.sleep(3 * LIMIT * HEARTBEAT)
        assert connection.connected.is_set()
        line.pause = 0.0
        await connection.close()


async def test_work_is_stopped_before_the_broker_gives_it_to_another(broker: Broker) -> None:
    """A client believed in its connection for longer than the broker: each job of a cut consumer had a twin for a minute."""
    async with await open_connection(broker, "another") as other:
        await asyncio.gather(_slow(broker), *(_cut(broker, other, kind) for kind in CUTS))


async def test_whoever_comes_back_to_a_broker_that_hangs_stops_at_once(broker: Broker) -> None:
    """The close of a connection waited for an answer, or for room to write: two minutes under an alarm."""
    async with line_to(broker.host, broker.port) as line:
        connection = await open_connection(replace(broker, port=line.port), "hangs")
        both_ways(line)
        began = time.monotonic()
        await connection.close()
        assert time.monotonic() - began < 3 + SLACK
