"""A publisher's channel that the broker closes, and publishes that are refused."""

import asyncio
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import NotConfirmed, Publisher, takes, until_confirmed

MESSAGE = aio_pika.Message(b"{}")


class Channel:
    """One that the broker closes, for a publish if `problem` is given."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.close_callbacks: set[Any] = set()
        self.sent: list[tuple[str, bool]] = []
        self._closed = asyncio.Event()

    async def closed(self) -> bool:
        return await self._closed.wait()

    def close_for(self, problem: Exception) -> None:
        for callback in self.close_callbacks:
            callback(self, problem)
        self._closed.set()

    async def get_exchange(self, name: str, *, ensure: bool) -> "Channel":
        return self

    async def publish(self, message: aio_pika.Message, routing_key: str, *, mandatory: bool) -> None:
        self.sent.append((routing_key, mandatory))
        if self.problem:
            raise self.problem

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class Connection:
    def __init__(self, channel: Channel | None = None) -> None:
        self._channel = channel

    def channel(self, **_: object) -> Channel:
        if self._channel is None:
            raise RuntimeError("<Connection> closed")
        return self._channel


async def test_whoever_waits_for_its_closing_learns_why() -> None:
    channel: Any = Channel()
    waiting = asyncio.create_task(Publisher(channel).closed())
    await asyncio.sleep(0)
    assert not waiting.done()
    channel.close_for(ChannelNotFoundEntity("no exchange 'leveret.delay.0'"))
    with pytest.raises(BrokerGone, match=r"published on was closed.*no exchange 'leveret\.delay\.0'"):
        await waiting


TAKEN = [
    pytest.param(None, True, id="confirmed"),
    pytest.param(ChannelPreconditionFailed("fast reply consumer does not exist"), False, id="its channel is closed"),
]


@pytest.mark.parametrize(("problem", "taken"), TAKEN)
async def test_a_message_that_is_not_taken_closes_a_channel_of_its_own(problem: Exception | None, taken: bool) -> None:
    channel = Channel(problem)
    connection: Any = Connection(channel)
    assert await takes(connection, MESSAGE) is taken
    assert channel.sent == [("", False)], "nobody receives it"


UNKNOWN = [
    pytest.param(Connection(Channel(ConnectionResetError("gone"))), id="the connection is lost meanwhile"),
    pytest.param(Connection(Channel(ChannelNotFoundEntity("no exchange"))), id="closed for another reason"),
    pytest.param(Connection(), id="the connection was lost before"),
]


@pytest.mark.parametrize("connection", UNKNOWN)
async def test_what_is_not_known_is_not_called_refused(connection: Any) -> None:
    with pytest.raises(NotConfirmed):
        await takes(connection, MESSAGE)


async def test_what_is_refused_is_published_again_until_it_is_confirmed() -> None:
    refusals = [NotConfirmed("full"), NotConfirmed("full")]

    async def publish() -> None:
        if refusals:
            raise refusals.pop()

    await until_confirmed(publish, "a copy", pause=0)
    assert not refusals
