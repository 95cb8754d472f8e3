"""A connection that the broker has blocked: known, waited for, and no publish's time runs out meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from leveret.rabbitmq.alarm import Alarm

SHORT = 0.2  # s


class Connection:
    """What the client library tells: its `ready` waits while the broker blocks it."""

    def __init__(self) -> None:
        self.taking = asyncio.Event()
        self.taking.set()
        self.transport: Any = SimpleNamespace(connection=SimpleNamespace(ready=self.taking.wait))


async def _until(raised: bool, alarm: Alarm) -> None:
    async with asyncio.timeout(30):
        while alarm.raised != raised:  # noqa: ASYNC110 - it looks every half second itself
            await asyncio.sleep(0.01)


async def test_an_alarm_is_told_and_stops_the_clocks() -> None:
    told: list[bool] = []
    alarm, connection = Alarm(told.append), Connection()
    watch = asyncio.create_task(alarm.watch(connection))  # type: ignore[arg-type]
    answer = asyncio.Event()

    async def publish() -> None:
        async with alarm.patience(4):
            await answer.wait()

    connection.taking.clear()
    before = asyncio.create_task(publish())
    await _until(True, alarm)
    during = asyncio.create_task(publish())
    await asyncio.sleep(5)
    assert not before.done()
    assert not during.done()
    connection.taking.set()
    await asyncio.wait_for(alarm.over(), 30)
    assert told == [True, False]
    answer.set()
    await asyncio.gather(before, during)
    watch.cancel()
    await asyncio.wait({watch})


async def test_patience_ends_where_there_is_no_alarm_and_after_one() -> None:
    alarm, connection = Alarm(), Connection()
    with pytest.raises(TimeoutError):
        async with alarm.patience(SHORT):
            await asyncio.sleep(60)
    watch = asyncio.create_task(alarm.watch(connection))  # type: ignore[arg-type]
    connection.taking.clear()
    await _until(True, alarm)
    asyncio.get_running_loop().call_later(SHORT, connection.taking.set)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30) as hung, alarm.patience(SHORT):
            await asyncio.Event().wait()
    assert not hung.expired()
    assert not alarm.raised
    watch.cancel()
    await asyncio.wait({watch})


async def test_a_connection_that_ends_takes_its_alarm_with_it() -> None:
    alarm, connection = Alarm(), Connection()
    watch = asyncio.create_task(alarm.watch(connection))  # type: ignore[arg-type]
    connection.taking.clear()
    await _until(True, alarm)
    watch.cancel()
    await asyncio.wait({watch})
    assert not alarm.raised
