"""The operator's session with a real broker: topology, signals, announcements, and coming back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest
from containers import Server, management
from deletions import Deleted, delete
from operator_link import linked, until

from leveret import signals
from leveret.events import QueueDecided, QueueRemoved, decode
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.publisher import Publisher
from leveret.rabbitmq.signalling import Signalling
from leveret.retry import LEVELS
from leveret.settings import Broker
from leveret.signals import Hint, JobQueueTold, Signal, encode, routing_key
from leveret.topology import (
    DEAD,
    EVENTS,
    JOBS,
    SIGNALS,
    UNROUTABLE,
    Binding,
    dead_queue,
    delay_exchange,
    for_queue,
    shared,
)
from leveret_operator.announcements import Announcements
from leveret_operator.broker import BrokerLink, NotDeclared, QueueDiffers
from leveret_operator.live_depths import QueueMissing
from leveret_operator.present_versions import PresentVersions

QUEUE = "leveret.bench"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def heard() -> list[Signal]:
    return []


@pytest.fixture
def announcements() -> Announcements:
    return Announcements("leveret")


@pytest.fixture
def versions() -> PresentVersions:
    return PresentVersions()


@pytest.fixture
async def link(
    broker: Broker, heard: list[Signal], announcements: Announcements, versions: PresentVersions
) -> AsyncIterator[BrokerLink]:
    async with linked(lambda: broker, announcements, versions, heard.append) as link:
        await until(lambda: link.session is not None)
        yield link


async def test_a_queue_is_declared_and_declared_again_when_it_is_gone(
    link: BrokerLink, rabbitmq: Server, broker: Broker
) -> None:
    assert await link.declare(QUEUE), "it is new"
    assert not await link.declare(QUEUE)
    rabbitmq.run("rabbitmqctl", "-q", "-p", broker.vhost, "delete_queue", QUEUE)
    assert isinstance(await link.live(QUEUE), QueueMissing)
    await link.declare(QUEUE)
    assert not isinstance(await link.live(QUEUE), QueueMissing)
    assert await link.is_empty(QUEUE)


async def test_dead_letters_that_wait_are_seen_and_a_missing_queue_is_not_empty(
    link: BrokerLink, broker: Broker
) -> None:
    await link.declare(QUEUE)
    dead = dead_queue(QUEUE)
    assert await link.has_none_ready(dead)
    async with await open_connection(broker, "dying") as dying:
        await (await Publisher.open(dying)).publish(DEAD, QUEUE, aio_pika.Message(b"{}"))
    assert not await link.has_none_ready(dead)
    assert not await link.has_none_ready(dead_queue("leveret.gone"))


async def test_a_queue_of_the_same_name_with_other_arguments_is_told(link: BrokerLink, broker: Broker) -> None:
    async with await open_connection(broker, "other") as other, await other.channel() as channel:
        await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    with pytest.raises(QueueDiffers, match="inequivalent arg"):
        await link.declare(QUEUE)
    await link.declare("leveret.another")  # the session goes on


async def test_hints_arrive_and_what_is_no_signal_does_no_harm(
    link: BrokerLink, broker: Broker, heard: list[Signal]
) -> None:
    hint = Hint("p", QUEUE, NOW, 5, 5)
    async with await open_connection(broker, "producer") as producer, await producer.channel() as channel:
        exchange = await channel.get_exchange(SIGNALS)
        await exchange.publish(aio_pika.Message(b"junk"), "hint.x")
        await exchange.publish(aio_pika.Message(encode(hint)), routing_key(hint))
        await until(lambda: bool(heard))
    assert heard == [hint]


async def test_consumers_are_told_of_the_present_version_at_once_and_the_operator_hears_none_of_it(
    link: BrokerLink, broker: Broker, heard: list[Signal], versions: PresentVersions
) -> None:
    told: list[tuple[float, Signal, bool]] = []

    async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        persistent = message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        told.append((time.monotonic(), signals.decode(message.body), persistent))

    async with await open_connection(broker, "consumer") as consumer, await consumer.channel() as channel:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(SIGNALS, f"jobqueue.{QUEUE}")
        await queue.consume(take, no_ack=True)
        for version in ("old", "new"):
            began = time.monotonic()
            versions.present(QUEUE, version)
            await until(lambda version=version: bool(told) and said(told[-1]) == version)
            assert told[-1][0] - began < 1, "at once"
    assert not any(persistent for _, _, persistent in told)
    assert heard == []


def said(one: tuple[float, Signal, bool]) -> str:
    assert isinstance(one[1], JobQueueTold)
    return one[1].version


async def test_announcements_arrive_in_order_and_outlive_the_broker(
    link: BrokerLink, rabbitmq: Server, broker: Broker, announcements: Announcements
) -> None:
    first, last = QueueDecided(NOW, 0, 5, "Backlog", "m"), QueueRemoved(NOW)
    announcements.decide(QUEUE, first)
    rabbitmq.kill()
    await until(lambda: link.session is None)
    with pytest.raises(NotDeclared):
        await link.declare(QUEUE)
    assert not await link.is_empty(QUEUE)
    announcements.remove(QUEUE, NOW)
    rabbitmq.start()
    await until(lambda: (link.session or 0) >= 2)  # a session may end before the broker is all there
    async with await open_connection(broker, "recorder") as recorder, await recorder.channel() as channel:
        queue = await channel.get_queue(EVENTS)
        said: list[object] = []
        async with asyncio.timeout(60):
            while not said or said[-1] != last:
                message = await queue.get(fail=False, no_ack=True)
                if message is not None:
                    said.append(decode(message.routing_key or "", message.body)[1])
    assert first in said


async def test_a_deleted_exchange_is_declared_again_in_the_same_session(
    link: BrokerLink, broker: Broker, announcements: Announcements
) -> None:
    async with await open_connection(broker, "vandal") as vandal:
        await delete(vandal, f"exchange {EVENTS}")
    announcements.remove(QUEUE, NOW)
    await until(lambda: not announcements.waiting)
    assert link.session == 1


# What nobody misses who publishes: what has to be bound again, or is declared by whom the operator tells.
UNMISSED: list[tuple[str, list[Deleted]]] = [
    ("bindings", [Binding(JOBS, QUEUE, QUEUE), Binding(DEAD, dead_queue(QUEUE), QUEUE), Binding(DEAD, EVENTS, QUEUE)]),
    ("exchanges", [f"exchange {name}" for name in (DEAD, JOBS, SIGNALS)]),
    ("queues", [f"queue {name}" for name in (EVENTS, dead_queue(QUEUE), QUEUE)]),
    (
        "delay levels",
        [f"{what} {delay_exchange(level)}" for level in (0, LEVELS - 1) for what in ("queue", "exchange")],
    ),
    ("a delay level's binding", [Binding(delay_exchange(3), delay_exchange(3))]),
    ("where what no queue took goes", [f"queue {UNROUTABLE}", f"exchange {UNROUTABLE}"]),
    ("all exchanges", [f"exchange {one.name}" for one in shared().exchanges]),
    ("all queues", [f"queue {one.name}" for one in (*shared().queues, *for_queue(QUEUE).queues)]),
]


async def test_what_nobody_misses_is_there_again_within_a_look(
    link: BrokerLink, rabbitmq: Server, broker: Broker, heard: list[Signal], subtests: pytest.Subtests
) -> None:
    await link.declare(QUEUE)
    async with await open_connection(broker, "vandal") as vandal:
        signalling = Signalling(Declared(vandal))
        for name, those in UNMISSED:
            with subtests.test(name):
                await delete(vandal, *those)
                async with asyncio.timeout(20):
                    while not await whole(rabbitmq, broker):
                        with contextlib.suppress(NotDeclared):  # nor is a connection that a deletion has cost
                            if link.misses(QUEUE):
                                await link.declare(QUEUE)
                        await asyncio.sleep(0.1)
        heard.clear()
        async with asyncio.timeout(20):
            while not heard:
                await signalling.send(Hint("p", QUEUE, NOW, 5, 5))
                await asyncio.sleep(0.1)


async def whole(rabbitmq: Server, broker: Broker) -> bool:
    """Whether all bindings are there, and so what they bind."""
    found: Any = await asyncio.to_thread(management, rabbitmq, f"bindings/{broker.vhost}")
    there = {(one["source"], one["destination"], one["routing_key"]) for one in found if one["source"]}
    wanted = [*shared().bindings, *for_queue(QUEUE).bindings]
    return {(one.exchange, one.queue, one.key) for one in wanted} <= there and len(there) == len(
        wanted
    ) + 2  # and the two of the inbox
