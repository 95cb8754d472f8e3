"""Subscribing and being unsubscribed, on a connection that notes what it is asked for."""

import asyncio
from collections.abc import Callable
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from moved_clock import with_moved_clock
from pretended_broker import Connection

from leveret.rabbitmq.connection import BrokerGone
from leveret_consumer.intake import SELDOM, Intake
from leveret_consumer.lane import AioPika
from leveret_consumer.prefetch import Terms

MESSAGE = aio_pika.Message(b"{}", message_id="1", type="t")


class World:
    """An intake of one queue; what is delivered waits until it's given back."""

    def __init__(self, *queues: str, every: float = 0.01) -> None:
        self.connection = Connection(queues=set(queues))
        self.said: list[str] = []
        self.prefetch = 2
        self.stop = asyncio.Event()
        self.waiting: dict[asyncio.Task[Any], AbstractIncomingMessage] = {}
        connection: Any = self.connection
        self.intake = Intake(
            connection,
            "q",
            "pod",
            self.take,
            self,
            terms=lambda: Terms(self.prefetch),
            lane=AioPika(),
            shrunk=self.give_back,
            looks_for_queue_every=every,
        )
        self.running = asyncio.create_task(self.intake.run(self.stop))

    async def take(self, message: AbstractIncomingMessage) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.waiting[task] = message
        await asyncio.Event().wait()

    async def give_back(self, tag: str) -> None:
        of_tag = {task: message for task, message in self.waiting.items() if message.consumer_tag == tag}
        for task in of_tag:
            task.cancel()
        await asyncio.wait(of_tag)
        for message in of_tag.values():
            await message.nack()

    def consumes(self) -> None:
        self.said.append("consumes")

    def waits(self, because: str) -> None:
        self.said.append(because)

    async def until(self, seen: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not seen():  # noqa: ASYNC110 - it has a tick of half a second itself
                await asyncio.sleep(0.01)

    async def subscribed(self, tag: str = "pod") -> None:
        await self.until(lambda: tag in self.connection.consumers())


@pytest.fixture
async def world() -> World:
    return World("q")


async def test_it_subscribes_once_the_queue_is_there() -> None:
    world = World()
    await world.until(lambda: bool(world.said))
    assert "there is no queue q yet" in world.said[0]
    world.connection.queues.add("q")
    await world.until(lambda: world.said[-1] == "consumes")
    world.stop.set()
    await world.running


@pytest.mark.parametrize(("every", "tries"), [(1.0, 60 + (86_400 - 60) / 5), (5.0, 86_400 / 5)], ids=["own", "source"])
def test_a_queue_that_is_missing_for_a_day_is_tried_for_seldom_and_taken_up_within_seconds(
    every: float, tries: float
) -> None:
    """It was tried for each second, on a channel each."""

    async def a_day() -> None:
        world = World(every=every)
        await asyncio.sleep(86_400)
        assert len(world.connection.channels) == pytest.approx(tries, abs=2)
        world.connection.queues.add("q")
        await asyncio.sleep(SELDOM + 0.1)
        assert world.said[-1] == "consumes"
        world.stop.set()
        await world.running

    with_moved_clock(a_day())


async def test_what_waits_goes_back_before_the_channel_that_it_came_on_is_closed(world: World) -> None:
    await world.subscribed()
    for _ in range(2):
        world.connection.deliver(MESSAGE)
    world.prefetch = 1
    await world.until(lambda: "close" in world.connection.told)
    told = world.connection.told
    assert told[told.index("consume pod.1") :] == ["consume pod.1", "cancel pod", "nack 1", "nack 2", "close"]
    world.stop.set()
    await world.running


async def test_a_channel_that_is_closed_ends_it(world: World) -> None:
    await world.subscribed()
    world.connection.consumers()["pod"].close_for(ConnectionResetError("gone"))
    with pytest.raises(BrokerGone):
        await world.running


async def test_a_cancel_waits_for_no_answer(world: World) -> None:
    await world.subscribed()
    world.connection.answers.clear()
    world.intake.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.connection.told[-1] == "cancel pod"
    world.stop.set()
    await world.running


async def test_a_subscription_that_comes_about_after_the_cancel_is_cancelled(world: World) -> None:
    world.connection.answers.clear()
    await world.until(lambda: "prefetch 2" in world.connection.told)
    world.intake.cancel()
    world.stop.set()
    world.connection.answers.set()
    await world.running
    await world.until(lambda: world.connection.told[-1] == "cancel pod")


async def test_it_leaves_no_task_behind(world: World) -> None:
    await world.subscribed()
    await asyncio.sleep(0)
    world.running.cancel()
    await asyncio.wait({world.running})
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
