"""Acks on a channel that notes what is written: in which order, together with what, and what a closed one does."""

import asyncio
from typing import Any

import pytest

from leveret.rabbitmq.connection import BrokerGone
from leveret_consumer.acks import ChannelAcks
from leveret_consumer.lane import AioPika


class Channel:
    def __init__(self) -> None:
        self.written: list[str] = []
        self.drained = asyncio.Event()
        self.drained.set()
        self.gone = False

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        self.written.append(f"ack {'to ' if multiple else ''}{tag}")
        if wait:
            await self.drained.wait()
            if self.gone:
                raise asyncio.CancelledError  # as aiormq does to calls whose connection is gone

    async def basic_nack(self, tag: int, requeue: bool = True) -> None:
        await self.drained.wait()
        self.written.append(f"nack {tag}" if requeue else f"reject {tag}")


@pytest.fixture
async def channel() -> Channel:
    return Channel()


def acks_on(channel: Any) -> ChannelAcks:
    return ChannelAcks(channel, AioPika())


async def test_what_ends_in_one_turn_is_acknowledged_together(channel: Channel) -> None:
    acks = acks_on(channel)
    await asyncio.gather(*(acks.finished(tag) for tag in (2, 1, 4, 3, 6)))
    assert channel.written == ["ack to 4", "ack 6"]


async def test_what_ends_while_acks_are_written_goes_with_the_next(channel: Channel) -> None:
    acks = acks_on(channel)
    channel.drained.clear()
    tasks = [asyncio.create_task(acks.finished(1))]
    await asyncio.sleep(0.01)
    for tag in (2, 3, 5):
        tasks.append(asyncio.create_task(acks.finished(tag)))
        await asyncio.sleep(0)
    assert channel.written == ["ack to 1"]
    channel.drained.set()
    await asyncio.gather(*tasks)
    assert channel.written == ["ack to 1", "ack to 3", "ack 5"]


async def test_a_multiple_ack_does_not_take_what_is_about_to_be_given_back(channel: Channel) -> None:
    acks = acks_on(channel)
    channel.drained.clear()
    back = asyncio.create_task(acks.give_back(1))
    await asyncio.sleep(0)
    done = asyncio.create_task(acks.finished(2))
    await asyncio.sleep(0.01)
    assert channel.written == []
    channel.drained.set()
    await asyncio.gather(back, done)
    assert channel.written == ["nack 1", "ack to 2"]


async def test_one_that_does_not_wait_any_more_is_acknowledged_all_the_same(channel: Channel) -> None:
    acks = acks_on(channel)
    one, other = asyncio.create_task(acks.finished(1)), asyncio.create_task(acks.finished(2))
    await asyncio.sleep(0)
    one.cancel()
    await other
    assert channel.written == ["ack to 2"]


async def test_acks_that_could_not_be_written_are_an_error_to_each_that_waits(channel: Channel) -> None:
    acks = acks_on(channel)
    channel.gone = True
    ends = await asyncio.gather(acks.finished(1), acks.finished(2), return_exceptions=True)
    assert [type(end) for end in ends] == [BrokerGone, BrokerGone]


async def test_who_does_not_wait_is_told_once_its_ack_is_written(channel: Channel) -> None:
    acks = acks_on(channel)
    channel.drained.clear()
    told: list[BaseException | None] = []
    for tag in (1, 2):
        acks.finished_soon(tag, told.append)
    await asyncio.sleep(0.01)
    assert (channel.written, told) == (["ack to 2"], [])
    channel.drained.set()
    await acks.finished(3)
    assert (told, acks.settled) == ([None, None], 3)


async def test_who_does_not_wait_is_told_why_its_ack_could_not_be_written(channel: Channel) -> None:
    acks = acks_on(channel)
    channel.gone = True
    told: list[BaseException | None] = []
    for tag in (1, 2):
        acks.finished_soon(tag, told.append)
    await asyncio.sleep(0.01)
    assert [type(problem) for problem in told] == [BrokerGone, BrokerGone]
