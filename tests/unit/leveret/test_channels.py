"""Channels that are opened in loops: each left 3 to 4 KB on its connection, and a thousand that asked had one each."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import UnderlayChannel
from aiormq.base import Base
from aiormq.connection import Connection
from aiormq.exceptions import ChannelInvalidStateError, ChannelPreconditionFailed

from leveret.rabbitmq.few_channels import MOST, FewChannels
from leveret.rabbitmq.opened_channels import keep_channels_few
from leveret.rabbitmq.publisher import NotConfirmed, takes

MESSAGE = aio_pika.Message(b"{}")


class Ending(Base):
    """A connection or a channel of the client library, as far as its end is concerned."""

    fails = False

    async def _on_close(self, exc: object = None) -> None:
        pass

    def __str__(self) -> str:
        return "one"

    async def ready(self) -> None:
        pass

    async def channel(self, **_: object) -> "Ending":
        if self.fails:
            raise ConnectionResetError("gone")
        return Ending(loop=self.loop, parent=self)

    def observers(self) -> int:
        return len(self._closing._callbacks or ())  # type: ignore[attr-defined]


async def _note(_: object) -> None:
    pass


async def _closed_by_us(underlay: UnderlayChannel) -> None:
    await underlay.close()


async def _closed_by_the_broker(underlay: UnderlayChannel) -> None:
    await underlay.channel.close(ChannelPreconditionFailed("no"))
    await underlay.close_callback.wait()


@pytest.mark.parametrize("close", [_closed_by_us, _closed_by_the_broker])
async def test_two_thousand_channels_leave_nothing_on_their_connection(close: Any) -> None:
    keep_channels_few()
    connection: Any = Ending(loop=asyncio.get_running_loop())
    before = connection.observers()
    for _ in range(2_000):
        await close(await UnderlayChannel.create(connection, _note))
    await asyncio.sleep(0)
    assert connection.observers() == before


async def test_a_channel_that_can_not_be_opened_leaves_nothing_either() -> None:
    keep_channels_few()
    connection: Any = Ending(loop=asyncio.get_running_loop())
    before, connection.fails = connection.observers(), True
    for _ in range(10):
        with pytest.raises(ConnectionResetError):
            await UnderlayChannel.create(connection, _note)
    await asyncio.sleep(0)
    assert connection.observers() == before


async def test_a_channel_learns_of_its_connections_end() -> None:
    keep_channels_few()
    told: list[object] = []

    async def note(closing: asyncio.Future[None]) -> None:
        told.append(closing.exception())

    connection: Any = Ending(loop=asyncio.get_running_loop())
    underlay = await UnderlayChannel.create(connection, note)
    await connection.close(ConnectionResetError("cut"))
    await underlay.close_callback.wait()
    assert str(told) == "[ConnectionResetError('cut')]"


async def test_one_more_than_the_broker_allows_is_refused_here_and_costs_no_connection() -> None:
    keep_channels_few()
    connected = asyncio.Event()
    connected.set()
    full: Any = SimpleNamespace(
        connected=connected, channels=dict.fromkeys(range(2_047)), connection_tune=SimpleNamespace(channel_max=2_047)
    )
    with pytest.raises(ChannelInvalidStateError, match=r"2047 channels"):
        await Connection.channel(full)


class Channel:
    def __init__(self) -> None:
        self.is_closed = False
        self.answers: asyncio.Queue[Exception | None] = asyncio.Queue()
        self.asked = 0

    async def get_exchange(self, name: str, *, ensure: bool) -> "Channel":
        return self

    async def publish(self, message: object, routing_key: str, *, mandatory: bool) -> None:
        self.asked += 1
        assert self.asked == 1, "each is in one hand"
        try:
            if problem := await self.answers.get():
                self.is_closed = True
                raise problem
        finally:
            self.asked -= 1

    async def close(self) -> None:
        self.is_closed = True


class Opened:
    """A connection that counts."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []

    async def channel(self, *, publisher_confirms: bool) -> Channel:
        assert publisher_confirms
        self.channels.append(Channel())
        return self.channels[-1]

    def open(self) -> list[Channel]:
        return [channel for channel in self.channels if not channel.is_closed]


@pytest.mark.parametrize("closes", [False, True])
async def test_a_thousand_that_ask_at_once_share_few_channels(closes: bool) -> None:
    connection: Any = Opened()
    few = FewChannels(connection)
    asking = [asyncio.create_task(takes(few, MESSAGE)) for _ in range(1_000)]
    while not all(one.done() for one in asking):
        assert len(connection.open()) <= MOST
        for channel in connection.open():
            if channel.asked:
                channel.answers.put_nowait(ChannelPreconditionFailed("no") if closes else None)
        await asyncio.sleep(0)
    assert {one.result() for one in asking} == {not closes}
    assert len(connection.channels) == (1_000 if closes else MOST)


async def test_an_answer_that_comes_late_is_not_taken_for_the_next_ones() -> None:
    connection: Any = Opened()
    few = FewChannels(connection, 1)
    asking = asyncio.create_task(takes(few, MESSAGE))
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait({asking})
    late = connection.channels[0].answers
    late.put_nowait(ChannelPreconditionFailed("no"))
    asking = asyncio.create_task(takes(few, MESSAGE))
    await asyncio.sleep(0.01)
    connection.channels[1].answers.put_nowait(None)
    assert await asking


async def test_a_turn_is_over_though_no_channel_could_be_opened() -> None:
    class Closed:
        def channel(self, *, publisher_confirms: bool) -> None:
            raise RuntimeError("closed")

    closed: Any = Closed()
    few = FewChannels(closed, 1)
    for _ in range(3):
        with pytest.raises(NotConfirmed):
            await takes(few, MESSAGE)
