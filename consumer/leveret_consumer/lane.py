"""How a subscription's messages come from the client library's channel, and how their acks go: `LEVERET_LANE`.

*own* calls the subscription for each message, and writes the acks of a flush as one. *aio-pika* leaves both to the library,
which begins a task for each message and builds a frame for each ack. A broker can't tell them apart, and neither can a job.
"""

import struct
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from aio_pika.abc import FieldValue
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp.commands import Basic
from pamqp.constants import FRAME_END, FRAME_METHOD

from leveret.rabbitmq.closed_channels import refuse_if_closing
from leveret.rabbitmq.read_frames import read_quickly

Deliver = Callable[[DeliveredMessage], Coroutine[None, None, None] | None]  # what is left to do, as a task
Arguments = dict[str, FieldValue]

_ACK = struct.Struct(">BHIIQBB")  # kind, channel, size of the next three, method, delivery tag, multiple, end


class Lane(Protocol):
    """`channel` is aiormq's, of whose inside *own* knows more than its types tell."""

    async def consume(self, channel: Any, queue: str, tag: str, arguments: Arguments, deliver: Deliver) -> None:
        """Register a consumer; raise what the broker has against it."""

    async def acknowledge(self, channel: Any, acks: Sequence[tuple[int, bool]]) -> None:
        """Write acks, each a delivery tag and whether it's a multiple one, in order; return once the last is handed on.

        Raises a broker error, or CancelledError as aiormq does, if the channel is closed before.
        """


class AioPika:
    async def consume(self, channel: Any, queue: str, tag: str, arguments: Arguments, deliver: Deliver) -> None:
        await channel.basic_consume(queue, deliver, consumer_tag=tag, arguments=arguments)

    async def acknowledge(self, channel: Any, acks: Sequence[tuple[int, bool]]) -> None:
        *first, (last, multiple) = acks
        for tag, many in first:
            await channel.basic_ack(tag, multiple=many, wait=False)
        await channel.basic_ack(last, multiple=multiple)


class Own(AioPika):
    async def consume(self, channel: Any, queue: str, tag: str, arguments: Arguments, deliver: Deliver) -> None:
        await super().consume(channel, queue, tag, arguments, deliver)
        channel.consumers[tag] = deliver  # the library has wrapped it in a coroutine, which would be a task for each

    async def acknowledge(self, channel: Any, acks: Sequence[tuple[int, bool]]) -> None:
        refuse_if_closing(channel)
        head = FRAME_METHOD, channel.number, 13, Basic.Ack.index
        frames = b"".join(_ACK.pack(*head, tag, many, FRAME_END) for tag, many in acks)
        written = channel.create_future()  # which ends with the channel
        await channel.write_queue.put(ChannelFrame(frames, should_close=False, drain_future=written))
        await written


def lane(name: str) -> Lane:
    """Return the one of that name, and have this process read so from its first connection on."""
    read_quickly(name == "own")
    return Own() if name == "own" else AioPika()
