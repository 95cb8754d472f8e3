"""A publisher's channel that the broker closes, and publishes that are refused."""

import asyncio
from types import SimpleNamespace
from typing import Any

import aio_pika
import pytest
from aio_pika.exceptions import (
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    PublishError,
)
from aiormq import spec
from aiormq.exceptions import ChannelAccessRefused
from pretended_broker import Asked

from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.publisher import NotConfirmed, Publisher, Unroutable, takes, until_confirmed
from leveret.topology import Exchange, Topology

MESSAGE = aio_pika.Message(b"{}")


class Channel(Asked):
    """One that the broker closes, for a publish if `problem` is given."""

    def __init__(self, problem: Exception | None = None) -> None:
        super().__init__()
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


class Broker:
    """A connection to one whose exchange is declared and deleted; its channels are closed for a missing one."""

    def __init__(self, **refuses: Exception) -> None:
        self.there, self.declarations, self.refuses = True, 0, refuses
        self.channels: list[Any] = []

    async def channel(self, **_: object) -> Channel:
        broker = self

        class Checked(Channel):
            async def publish(self, *words: Any, mandatory: bool) -> None:
                await super().publish(*words, mandatory=mandatory)
                await asyncio.sleep(0)
                if self._closed.is_set():
                    raise ChannelInvalidStateError("closed")
                if not broker.there:
                    problem = broker.refuses.get("publish", ChannelNotFoundEntity("no exchange 'e'"))
                    if not isinstance(problem, PublishError):
                        self.close_for(problem)
                    raise problem

            async def get_underlay_channel(self) -> "Checked":
                return self

            async def answer(self, asked: object) -> None:
                broker.declarations += 1
                await asyncio.sleep(0)
                if problem := broker.refuses.get("declare"):
                    raise problem
                broker.there = True

        self.channels.append(Checked())
        return self.channels[-1]

    async def publisher(self) -> Publisher:
        connection: Any = self
        return await Publisher.open(
            connection, declared=Declared(connection, Topology((Exchange("e", "direct"),), (), ()))
        )


def returned() -> PublishError:
    frame = spec.Basic.Return(312, "NO_ROUTE", "e", "k")
    message: Any = SimpleNamespace(delivery=frame)
    return PublishError(message, frame)


MISSING = [
    pytest.param(ChannelNotFoundEntity("no exchange 'e'"), id="an exchange, which closes the channel"),
    pytest.param(returned(), id="a queue or a binding, for which the message comes back"),
]


@pytest.mark.parametrize("problem", MISSING)
async def test_many_who_miss_the_same_have_it_declared_once_and_all_are_confirmed(problem: Exception) -> None:
    broker = Broker(publish=problem)
    publisher = await broker.publisher()
    watch = asyncio.create_task(publisher.closed())
    broker.there = False
    await asyncio.gather(*(publisher.publish("e", "k", MESSAGE) for _ in range(50)))
    assert (broker.declarations, watch.done()) == (1, False)
    watch.cancel()


@pytest.mark.parametrize("problem", MISSING)
async def test_what_may_not_be_declared_is_asked_for_once_a_second_at_most(problem: Exception) -> None:
    broker = Broker(publish=problem, declare=ChannelAccessRefused("configure access refused"))
    publisher = await broker.publisher()
    broker.there = False
    done = await asyncio.gather(*(publisher.publish("e", "k", MESSAGE) for _ in range(50)), return_exceptions=True)
    assert all(isinstance(one, NotConfirmed) for one in done)
    assert broker.declarations == 1


async def test_a_message_that_closes_the_channel_declares_nothing_and_ends_whoever_watches() -> None:
    broker = Broker(publish=ChannelPreconditionFailed("fast reply consumer does not exist"))
    publisher = await broker.publisher()
    broker.there = False
    with pytest.raises(NotConfirmed, match="fast reply"):
        await publisher.publish("e", "k", MESSAGE)
    with pytest.raises(BrokerGone, match="fast reply"):
        await publisher.closed()
    assert broker.declarations == 0


async def test_what_no_declaration_helps_is_unroutable() -> None:
    channel: Any = Channel(returned())
    with pytest.raises(Unroutable):
        await Publisher(channel).publish("", "a client's", MESSAGE)
