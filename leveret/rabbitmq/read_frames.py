"""Take frames out of what has come in one go, hand a message on as a whole, and begin no task that isn't needed.

Our client library reads each frame in three steps, an octet, its head and its rest, each from the start of all that waits
to be read. A message is three frames, and each of them goes through a queue to its channel. And it reads a `basic.deliver`
by looking up the type of each of its fields, of which there are always the same five. And it begins a task for each message,
also where its consumer is done with it at once.

The library has no place for this but itself: `read_quickly` changes it for the whole process. What is read is the same.
Where a process is to read as the library does, only the end of a connection is told otherwise.
"""

import struct
from collections.abc import Callable
from typing import Any

import pamqp.frame
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError, ProtocolSyntaxError
from pamqp import commands, decode
from pamqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEADER_SIZE, FRAME_METHOD
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

_AT_ONCE = 256 * 1024  # bytes
_HEAD = struct.Struct(">BHI").unpack_from  # kind, channel, size
_LAST = 0xCE  # octet of each frame
_KINDS: dict[int, Callable[[bytes], Any]] = {
    FRAME_METHOD: pamqp.frame._unmarshal_method_frame,
    FRAME_HEADER: pamqp.frame._unmarshal_header_frame,
    FRAME_BODY: pamqp.frame._unmarshal_body_frame,
}
_TAG = struct.Struct(">QB").unpack_from
_DELIVER = commands.Basic.Deliver.index.to_bytes(4)  # what its frame's content begins with
_library_frame: Any = FrameReceiver.get_frame
_decided = False


class Message(commands.Basic.Deliver):
    """A `basic.deliver` with the frames that follow it."""

    __slots__ = ("body", "header")
    header: ContentHeader
    body: bytes


def read_quickly(quickly: bool = True) -> None:
    """Have every connection of this process read so, or none.

    The first call decides for good: what has come in one go and is not taken out yet can't change hands.
    """
    global _decided
    if _decided:
        return
    _decided = True
    FrameReceiver.get_frame = _next_frame if quickly else _library_frame_or_end  # type: ignore[assignment,method-assign]
    if quickly:
        commands.Basic.Deliver.unmarshal = _read_deliver  # type: ignore[assignment,method-assign]
        Channel._on_deliver_frame = _deliver  # type: ignore[method-assign,assignment]


async def _library_frame_or_end(receiver: Any) -> Any:
    if receiver.reader.at_eof():  # else the library would tell whoever waits no more than `Exception()`
        raise AMQPConnectionError("the broker hung up")
    return await _library_frame(receiver)


async def _next_frame(receiver: Any) -> tuple[int, int, Any]:
    """Return the next frame; raise AMQPConnectionError once the broker has hung up."""
    came: bytes
    came, at = getattr(receiver, "came", (b"", 0))
    while (end := _end(receiver, came, at)) is None:
        try:
            more = await receiver.reader.read(_AT_ONCE)
        except OSError as problem:
            raise AMQPConnectionError(f"the connection broke: {problem!r}") from problem
        if not more:
            raise AMQPConnectionError(f"the broker hung up, {len(came) - at} bytes into a frame")
        came, at = came[at:] + more, 0
    kind, channel, size = _HEAD(came, at)
    try:
        delivers = came.startswith(_DELIVER, at + FRAME_HEADER_SIZE) and kind == FRAME_METHOD and came[end - 1] == _LAST
        if delivers and (whole := _message(came, channel, at, end)):
            receiver.came = came, whole[1]
            return whole[1] - at, channel, whole[0]
        receiver.came = came, end
        if size and kind in _KINDS and came[end - 1] == _LAST:
            return end - at, channel, _KINDS[kind](came[at + FRAME_HEADER_SIZE : end - 1])
        return pamqp.frame.unmarshal(came[at:end])
    except (PAMQPException, ValueError, struct.error) as problem:
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


def _message(came: bytes, channel: int, at: int, end: int) -> tuple[Message, int] | None:
    """Return the message that begins at a frame, and where it ends; None if not all of it is there: then each frame goes alone."""
    message, body, left = Message.__new__(Message), list[bytes](), None
    begin = end
    while left is None or left > 0:
        if len(came) < begin + FRAME_HEADER_SIZE:
            return None
        kind, of, size = _HEAD(came, begin)
        last = begin + FRAME_HEADER_SIZE + size
        if len(came) <= last or came[last] != _LAST or of != channel:
            return None
        content = came[begin + FRAME_HEADER_SIZE : last]
        if left is None and kind == FRAME_HEADER:
            message.header = pamqp.frame._unmarshal_header_frame(content)
            left = message.header.body_size
        elif left is not None and kind == FRAME_BODY:
            body.append(content)
            left -= size
        else:
            return None
        begin = last + 1
    message.body = b"".join(body)
    _read_deliver(message, came[at + FRAME_HEADER_SIZE + len(_DELIVER) : end - 1])
    return message, begin


def _read_deliver(frame: commands.Basic.Deliver, data: bytes) -> None:
    text = decode.METHODS["shortstr"]
    at, frame.consumer_tag = text(data)  # type: ignore[assignment]
    frame.delivery_tag, bits = _TAG(data, at)
    frame.redelivered = bits & 1 == 1
    size, frame.exchange = text(data[at + 9 :])  # type: ignore[assignment]
    frame.routing_key = text(data[at + 9 + size :])[1]  # type: ignore[assignment]


async def _deliver(channel: Any, frame: commands.Basic.Deliver) -> None:
    """Hand a message to its consumer; what that returns goes on as a task, if it's not None."""
    if isinstance(frame, Message):
        message = DeliveredMessage(frame, frame.header, frame.body, channel)
    else:
        message = await channel._read_content(frame, await channel._Channel__get_content_header())
    consumer = channel.consumers.get(frame.consumer_tag)
    if consumer is not None and (work := consumer(message)) is not None:
        channel.create_task(work).add_done_callback(channel._on_consumer_done)
