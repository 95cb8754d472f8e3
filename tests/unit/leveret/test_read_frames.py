"""Frames out of a stream: whole ones, however they were cut on their way, and the errors of the client library.

Read in both ways that there are: our own, and the library's.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError, ProtocolSyntaxError
from hypothesis import given
from hypothesis import strategies as st
from lanes import NAMES, in_lane
from pamqp import base, commands
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from leveret.rabbitmq import read_frames
from leveret.rabbitmq.foreign import read_anything
from leveret_consumer.lane import Lane

FRAMES = [
    (1, Basic.Deliver("pod", 7, True, "leveret.jobs", "leveret.q")),
    (1, ContentHeader(body_size=3, properties=Basic.Properties(message_id="m", headers={"a": 1}))),
    (1, ContentBody(b"abc")),
    (0, Heartbeat()),
    (2, Basic.Ack(3, True)),
]
OCTETS = b"".join(marshal(frame, channel) for channel, frame in FRAMES)
_library = base.Frame.unmarshal


@pytest.fixture(autouse=True, params=NAMES)
def lane(request: pytest.FixtureRequest) -> Iterator[Lane]:
    read_anything()
    yield from in_lane(request.param)


async def frames(*pieces: bytes, problem: Exception | None = None, at_once: bool = False) -> list[Any]:
    """Return the channels and names of what is read, and the name of the error at last."""
    reader = asyncio.StreamReader()
    receiver, found = FrameReceiver(reader), list[Any]()

    async def read() -> None:
        try:
            async for _, channel, frame in receiver:
                if isinstance(frame, read_frames.Message):  # all of it had come
                    found.extend((channel, name) for name in ("Deliver", "ContentHeader", "ContentBody"))
                else:
                    found.append((channel, type(frame).__name__))
        except (AMQPConnectionError, InvalidFrameError, ProtocolSyntaxError) as raised:
            found.append(type(raised))

    reading = asyncio.create_task(read())
    for piece in pieces:
        reader.feed_data(piece)
        if not at_once:
            await asyncio.sleep(0)
    if problem:
        reader.set_exception(problem)
    else:
        reader.feed_eof()
    async with asyncio.timeout(30):
        await reading
    return found


WHOLE: list[Any] = [(channel, type(frame).__name__) for channel, frame in FRAMES]


@pytest.mark.parametrize("size", [1, 2, 6, 7, 8, 9, 50, len(OCTETS)])
async def test_frames_are_whole_however_they_come(size: int) -> None:
    assert await frames(*(OCTETS[at : at + size] for at in range(0, len(OCTETS), size))) == [
        *WHOLE,
        AMQPConnectionError,
    ]


async def test_who_hangs_up_within_a_frame_is_an_error() -> None:
    assert await frames(OCTETS + OCTETS[:9]) == [*WHOLE, AMQPConnectionError]


async def test_who_hangs_up_between_two_frames_that_are_read_later_is_an_error() -> None:
    assert await frames(OCTETS, at_once=True) == [*WHOLE, AMQPConnectionError]


async def test_a_connection_that_breaks_is_an_error() -> None:
    assert await frames(OCTETS, problem=ConnectionResetError("reset")) == [*WHOLE, AMQPConnectionError]


async def test_what_is_no_frame_is_an_error_and_what_came_before_is_read() -> None:
    broken = OCTETS[:-1] + b"\x00"
    assert await frames(broken) == [*WHOLE[:-1], InvalidFrameError]


async def test_a_broker_of_another_protocol_is_told_of() -> None:
    assert await frames(b"AMQP\x00\x01\x00\x00") == [ProtocolSyntaxError]


SHORT = st.text(max_size=60)


@given(tag=SHORT, number=st.integers(0, 2**63 - 1), again=st.booleans(), exchange=SHORT, key=SHORT)
def test_a_delivery_is_read_as_the_library_reads_it(
    tag: str, number: int, again: bool, exchange: str, key: str
) -> None:
    octets = b"".join(
        (len(text.encode()).to_bytes() + text.encode()) if isinstance(text, str) else text
        for text in (tag, number.to_bytes(8) + bytes([again]), exchange, key)
    )
    ours, theirs = commands.Basic.Deliver(), commands.Basic.Deliver()
    ours.unmarshal(octets)
    _library(theirs, octets)
    assert [getattr(ours, name) for name in ours.__slots__] == [getattr(theirs, name) for name in theirs.__slots__]
