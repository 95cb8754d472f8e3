"""Declaring over a channel that notes what is written to it."""

from typing import Any

import pytest
from aio_pika.exceptions import ChannelPreconditionFailed
from aiormq.abc import ChannelFrame
from pretended_broker import Asked

from leveret import topology
from leveret.rabbitmq.declare import declare


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
