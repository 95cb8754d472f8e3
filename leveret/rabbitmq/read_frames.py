"""Take frames out of what has come in one go, read the one that comes most by what it is, and begin no task that isn't needed.

Our client library reads each frame in three steps, an octet, its head and its rest, each from the start of all that waits
to be read. A job is three frames. And it reads a `basic.deliver` by looking up the type of each of its fields, of which
there are always the same five. And it begins a task for each message, also where its consumer is done with it at once.

The library has no place for this but itself: `read_quickly` changes it for the whole process. What is read is the same.
"""

import struct
from collections.abc import Callable
from typing import Any

import pamqp.frame
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError, ProtocolSyntaxError
from pamqp import commands, decode
from pamqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEADER_SIZE, FRAME_METHOD
from pamqp.exceptions import PAMQPException

_AT_ONCE = 256 * 1024  # bytes
_HEAD = struct.Struct(">BHI").unpack_from  # kind, channel, size
_LAST = 0xCE  # octet of each frame
_KINDS: dict[int, Callable[[bytes], Any]] = {
    FRAME_METHOD: pamqp.frame._unmarshal_method_frame,
    FRAME_HEADER: pamqp.frame._unmarshal_header_frame,
    FRAME_BODY: pamqp.frame._unmarshal_body_frame,
}
_TAG = struct.Struct(">QB").unpack_from


def read_quickly() -> None:
    """Have every connection of this process read so."""
    FrameReceiver.get_frame = _next_frame  # type: ignore[assignment,method-assign]
    commands.Basic.Deliver.unmarshal = _read_deliver  # type: ignore[assignment,method-assign]
    Channel._on_deliver_frame = _deliver  # type: ignore[method-assign,assignment]


async def _next_frame(receiver: Any) -> tuple[int, int, Any]:
    """Return the next frame; raise AMQPConnectionError once the broker has hung up."""
    came: bytes
    came, at = getattr(receiver, "came", (b"", 0))
    while (end := _end(receiver, came, at)) is None:
        try:
            more = await receiver.reader.read(_AT_ONCE)
        except OSError as problem:
            raise AMQPConnectionError(f"the connection broke: {problem!r}") from problem
        if not more:  # also between two frames: else the library would tell whoever waits no more than `Exception()`
            raise AMQPConnectionError(f"the broker hung up, {len(came) - at} bytes into a frame")
        came, at = came[at:] + more, 0
    receiver.came = came, end
    kind, channel, size = _HEAD(came, at)
    try:
        if size and kind in _KINDS and came[end - 1] == _LAST:
            return end - at, channel, _KINDS[kind](came[at + FRAME_HEADER_SIZE : end - 1])
        return pamqp.frame.unmarshal(came[at:end])
    except PAMQPException as problem:
        raise InvalidFrameError(str(problem)) from problem


def _end(receiver: Any, came: bytes, at: int) -> int | None:
    """Return where the frame ends that begins there, None if it has not come yet."""
    if len(came) < at + FRAME_HEADER_SIZE:
        return None
    if not receiver.started and came.startswith(b"AMQP"):
        raise ProtocolSyntaxError("Unexpected AMQP protocol header")
    receiver.started = True
    end: int = at + FRAME_HEADER_SIZE + _HEAD(came, at)[2] + 1
    return end if end <= len(came) else None


def _read_deliver(frame: commands.Basic.Deliver, data: bytes) -> None:
    text = decode.METHODS["shortstr"]
    at, frame.consumer_tag = text(data)  # type: ignore[assignment]
    frame.delivery_tag, bits = _TAG(data, at)
    frame.redelivered = bits & 1 == 1
    size, frame.exchange = text(data[at + 9 :])  # type: ignore[assignment]
    frame.routing_key = text(data[at + 9 + size :])[1]  # type: ignore[assignment]


async def _deliver(channel: Any, frame: commands.Basic.Deliver) -> None:
    """Hand a message to its consumer; what that returns goes on as a task, if it's not None."""
    message = await channel._read_content(frame, await channel._Channel__get_content_header())
    consumer = channel.consumers.get(frame.consumer_tag)
    if consumer is not None and (work := consumer(message)) is not None:
        channel.create_task(work).add_done_callback(channel._on_consumer_done)
