"""A connection that the broker has blocked: known, waited for, and no publish's time runs out meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import aio_pika
import pytest
from moved_clock import move_clock, turns

from leveret.rabbitmq.alarm import LOOK_EVERY, Alarm
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, Publisher, until_confirmed


class World:
    """What the client library tells: its `ready` waits while the broker blocks the connection."""

    def __init__(self) -> None:
        self._move = move_clock(asyncio.get_running_loop())
        self.taking = asyncio.Event()
        self.taking.set()
        self.transport: Any = SimpleNamespace(connection=SimpleNamespace(ready=self.taking.wait))
        self.told: list[bool] = []
        self.alarm = Alarm(self.told.append)
        connection: Any = self
        self.watch = asyncio.create_task(self.alarm.watch(connection))

    async def after(self, seconds: float) -> None:
        self._move(seconds)
        await turns()

    async def looks(self) -> None:
        for _ in range(4):  # each a pause, and a moment for its answer
            await self.after(LOOK_EVERY)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await turns()
    yield made
    made.watch.cancel()
    await asyncio.wait({made.watch})


def _publish(alarm: Alarm, seconds: float, answer: Callable[[], Any]) -> asyncio.Task[None]:
    async def publish() -> None:
        async with alarm.patience(seconds):
            await answer()

    return asyncio.create_task(publish())


async def test_an_alarm_is_told_and_stops_the_clocks(world: World) -> None:
    answer = asyncio.Event()
    world.taking.clear()
    before = _publish(world.alarm, 4, answer.wait)
    await turns()
    await world.looks()
    assert world.alarm.raised
    during = _publish(world.alarm, 4, answer.wait)
    await world.after(24 * 3600)
    assert (before.done(), during.done()) == (False, False)
    world.taking.set()
    await turns()
    assert (world.told, world.alarm.raised) == ([True, False], False)
    await world.after(3)
    assert (before.done(), during.done()) == (False, False), "both have their time again"
    answer.set()
    await asyncio.gather(before, during)


async def test_patience_ends_where_there_is_no_alarm_and_after_one(world: World) -> None:
    hung = _publish(world.alarm, 4, asyncio.Event().wait)
    await turns()
    await world.after(5)
    with pytest.raises(TimeoutError):
        await hung
    world.taking.clear()
    await world.looks()
    during = _publish(world.alarm, 4, asyncio.Event().wait)
    await world.after(100)
    world.taking.set()
    await turns()
    assert not during.done()
    await world.after(5)
    with pytest.raises(TimeoutError):
        await during


async def test_a_connection_that_ends_takes_its_alarm_with_it(world: World) -> None:
    world.taking.clear()
    await world.looks()
    assert world.alarm.raised
    world.watch.cancel()
    await asyncio.wait({world.watch})
    assert not world.alarm.raised


class Channel:
    """One that is published on; the confirm comes once it's given."""

    def __init__(self) -> None:
        self.close_callbacks: set[Any] = set()
        self.published = 0
        self.confirm = asyncio.Event()

    async def get_exchange(self, name: str, *, ensure: bool) -> "Channel":
        return self

    async def publish(self, *_: object, mandatory: bool) -> None:
        self.published += 1
        await self.confirm.wait()


def _published_once(channel: Any, alarm: Alarm) -> tuple[Publisher, asyncio.Task[None]]:
    publisher = Publisher(channel, alarm)
    publish = partial(publisher.publish, "leveret.dead", "q", aio_pika.Message(b"{}"), LATE_CONFIRM_TIMEOUT)
    return publisher, asyncio.create_task(until_confirmed(publish, "a copy"))


async def test_what_must_not_be_there_twice_is_published_once_however_long_an_alarm_takes(world: World) -> None:
    """After an hour it was published again while the first waited on the same connection, and both were taken."""
    channel = Channel()
    _, publishing = _published_once(channel, world.alarm)
    world.taking.clear()
    await world.looks()
    for _ in range(24):
        await world.after(3600)
    assert (channel.published, publishing.done()) == (1, False)
    world.taking.set()
    await world.looks()
    channel.confirm.set()
    await publishing
    assert channel.published == 1


async def test_a_confirm_that_never_comes_ends_all_that_is_published_on_that_channel(world: World) -> None:
    """On the next connection it's published again, and not on this one, on which it may still be confirmed."""
    channel = Channel()
    publisher, publishing = _published_once(channel, world.alarm)
    watching = asyncio.create_task(publisher.closed())
    await turns()
    await world.after(LATE_CONFIRM_TIMEOUT + 1)
    for task in (publishing, watching):
        with pytest.raises(BrokerGone, match="no confirm"):
            await task
    assert channel.published == 1
