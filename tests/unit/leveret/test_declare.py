"""Declaring over a channel that notes what is written to it."""

from typing import Any

import pytest
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.abc import ChannelFrame
from pretended_broker import Asked

from leveret import topology
from leveret.rabbitmq.declare import declare, declare_missing
from leveret.retry import LEVELS


class Channel(Asked):
    def __init__(self, refuses: str = "") -> None:
        super().__init__()
        self.asked: list[str] = []
        self.writes, self.refuses = 0, refuses

    async def get_underlay_channel(self) -> "Channel":
        return self

    async def put(self, frames: ChannelFrame) -> None:
        self.writes += 1
        await super().put(frames)

    async def answer(self, asked: Any) -> None:
        name = getattr(asked, "queue", "") or asked.exchange
        if name == self.refuses:
            raise ChannelPreconditionFailed(f"inequivalent arg for {name!r}")
        self.asked.append(f"{asked.name} {name}")


async def test_everything_is_declared_in_its_order_in_one_round_trip() -> None:
    """Each was asked for and waited for: 49 round trips of every consumer in the second that a broker is back."""
    channel: Any = Channel()
    shared, own = topology.shared(), topology.for_dead_letters("q")
    await declare(channel, shared, own)
    expected = [
        line
        for one in (shared, own)
        for line in (
            *(f"Exchange.Declare {exchange.name}" for exchange in one.exchanges),
            *(f"Queue.Declare {queue.name}" for queue in one.queues),
            *(f"Queue.Bind {binding.queue}" for binding in one.bindings),
        )
    ]
    assert (channel.writes, channel.asked) == (1, expected)
    assert channel.rpc_frames.empty()


async def test_what_is_there_with_other_arguments_is_told() -> None:
    channel: Any = Channel(refuses=topology.EVENTS)
    with pytest.raises(ChannelPreconditionFailed, match=topology.EVENTS):
        await declare(channel, topology.shared())


class Connection:
    """Opens channels to a broker on which something is missing, or nothing."""

    def __init__(self, missing: str = "") -> None:
        self.missing, self.opened = missing, list["Opened"]()

    async def channel(self, *, publisher_confirms: bool) -> "Opened":
        self.opened.append(Opened(self.missing if not self.opened else ""))
        return self.opened[-1]


class Opened(Channel):
    async def answer(self, asked: Any) -> None:
        if getattr(asked, "passive", False) and self.refuses == getattr(asked, "exchange", None):
            raise ChannelNotFoundEntity(self.refuses)
        self.asked.append(
            f"{asked.name} {getattr(asked, 'queue', '') or asked.exchange}{' passive' * getattr(asked, 'passive', False)}"
        )

    async def __aenter__(self) -> "Opened":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


LAST = topology.delay_exchange(LEVELS - 1)


async def test_of_what_is_there_only_the_last_is_asked_for() -> None:
    connection: Any = Connection()
    await declare_missing(connection, topology.shared())
    (one,) = connection.opened
    assert (one.writes, one.asked) == (
        1,
        [f"Exchange.Declare {LAST} passive", f"Queue.Declare {topology.CONTROL} passive"],
    )


async def test_what_is_missing_is_declared_on_another_channel() -> None:
    connection: Any = Connection(missing=LAST)
    await declare_missing(connection, topology.shared())
    _, other = connection.opened
    assert other.writes == 1
    assert f"Exchange.Declare {topology.UNROUTABLE}" in other.asked
    assert other.asked[-1] == f"Queue.Bind {LAST}"
