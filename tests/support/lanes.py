"""Each of the lanes, where the whole process reads as that lane wants it; and a subscription in it that is watched."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aio_pika.abc import AbstractConnection
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver
from pamqp import base, commands

from leveret.rabbitmq import read_frames
from leveret_consumer.acks import Delivered
from leveret_consumer.lane import Lane, lane
from leveret_consumer.prefetch import Terms
from leveret_consumer.subscription import Subscription

NAMES = ["aio-pika", "own"]
# As they are when tests are collected: no connection has been opened then.
_LIBRARY: list[tuple[Any, str, Any]] = [
    (FrameReceiver, "get_frame", FrameReceiver.get_frame),
    (commands.Basic.Deliver, "unmarshal", base.Frame.unmarshal),
    (Channel, "_on_deliver_frame", Channel._on_deliver_frame),
    (read_frames, "_decided", False),
]


def in_lane(name: str) -> Iterator[Lane]:
    """What a process does that begins with this lane, for as long as a test lasts."""
    with pytest.MonkeyPatch.context() as patched:
        for owner, attribute, original in _LIBRARY:
            patched.setattr(owner, attribute, original)
        yield lane(name)


class Subscribed:
    """What comes is kept until it's told what becomes of it."""

    def __init__(self, connection: AbstractConnection, lane: Lane) -> None:
        self.connection, self.lane = connection, lane
        self.came: list[Delivered] = []
        self.lost: list[str] = []
        self.told: list[BaseException | None] = []  # of acks: None, or why one couldn't be written

    async def open(self, queue: str, prefetch: int = 100) -> "Subscribed":
        terms = Terms(prefetch)
        self.subscription = await Subscription.open(
            self.connection, queue, "tag", terms, self.came.append, self.lane, self.lost.append
        )
        self.channel: Any = await self.subscription._channel.get_underlay_channel()
        return self

    async def until(self, seen: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not seen():  # noqa: ASYNC110 - a socket tells nobody
                await asyncio.sleep(0.005)

    async def has(self, count: int) -> list[Delivered]:
        await self.until(lambda: len(self.came) >= count)
        assert len(self.came) == count
        return self.came

    async def acknowledge(self, *messages: Delivered) -> None:
        """Together; return once they are written."""
        told = len(self.told)
        for message in messages:
            message.ack_soon(self.told.append)
        await self.until(lambda: len(self.told) == told + len(messages))
