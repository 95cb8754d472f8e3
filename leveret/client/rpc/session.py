"""What calls need of one connection: a place for the replies, and a channel with confirms to publish on.

Both are one channel: direct reply-to is a matter of the channel that publishes. It ends with the connection, or when the
broker closes it or ends its consumer (the reply queue was deleted): then a new connection begins from the start.

The three places for replies:

* direct: `amq.rabbitmq.reply-to`, no queue at all;
* exclusive: a queue of the connection's own, gone with it;
* fixed: a durable queue that outlives connections. It has one owner: an exclusive consumer on a classic queue, of which the
  broker refuses a second one at once (403). Quorum queues have none, and `x-single-active-consumer`, which they do have,
  lets a second client wait in silence and refuses exclusive consumers where it is set.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from uuid import uuid4

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, FieldValue
from aio_pika.exceptions import DeliveryError
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ChannelPreconditionFailed

from leveret import topology
from leveret.client.rpc.errors import Published, QueueTaken, Refused
from leveret.client.rpc.messages import Request, check_name
from leveret.ending import end
from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT, NotConfirmed, Publisher, Unroutable
from leveret.reply import DIRECT_REPLY_TO, may_reply_to

# What is unconfirmed when a connection goes may be lost, so it's little: half a percent of 5,000 calls at once.
UNCONFIRMED = 25
PREFETCH = 500  # replies; of a fixed queue

Heard = Callable[[AbstractIncomingMessage], Awaitable[None]]


class Style(StrEnum):
    """Where replies go."""

    DIRECT = "direct"
    EXCLUSIVE = "exclusive"
    FIXED = "fixed"


@dataclass(frozen=True, slots=True)
class Place:
    """`queue`: of the fixed style its name, of the exclusive one what its name begins with, if anything."""

    style: Style
    queue: str = ""
    expires: float = 600.0  # s without a client, after which the broker deletes a fixed queue

    @property
    def outlives(self) -> bool:
        """Whether replies still arrive when the connection is gone."""
        return self.style is Style.FIXED


def place_of(style: Style, queue: str, expires: float) -> Place:
    """Raise ValueError for what can't be one."""
    if style is Style.DIRECT and queue:
        raise ValueError("direct replies have no queue: leave `queue` out, or choose another style")
    if style is Style.FIXED or queue:
        check_name(queue if style is Style.FIXED else f"{queue}.{uuid4()}", "the reply queue")
        if not may_reply_to(queue):
            raise ValueError(
                f"{queue!r} is a queue of Leveret's own, which nobody is replied to through: choose another name"
            )
    if not 1 <= expires <= 86_400 * 7:
        raise ValueError(f"a fixed reply queue expires after 1 s to a week, not {expires!r} s")
    return Place(style, queue, expires)


class Session:
    """`window` is for those that publish, each until it is confirmed; they wait for the end of an `alarm` within."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher, self._reply_to = publisher, ""
        self.window, self.alarm = asyncio.Semaphore(UNCONFIRMED), Alarm()
        self._over, self._because = asyncio.Event(), ""

    @classmethod
    async def open(cls, connection: AbstractConnection, place: Place, heard: Heard) -> Self:
        """Raise QueueTaken, Refused, or one of BrokerErrors."""
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            session = cls(Publisher(channel))
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(session._consumer_ended)
            session._reply_to = await _listen(channel, place, heard)
        except RuntimeError as problem:  # what a closed connection raises
            raise ConnectionResetError(str(problem)) from problem
        return session

    async def lasts(self, connection: AbstractConnection) -> None:
        """Wait until it's over, and raise why."""
        tasks = [
            asyncio.create_task(wait)
            for wait in (self._publisher.closed(), self.alarm.watch(connection), self._over.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise BrokerGone(self._because)
        finally:
            await end(tasks)

    def _consumer_ended(self, frame: object) -> None:
        self._end("the broker ended the consumer of the replies: somebody deleted their queue")

    def _end(self, because: str) -> None:
        self._because = self._because or because
        self._over.set()

    async def send(self, request: Request) -> Published:
        """Publish a call; tell whether it's confirmed, or that this isn't known: then this session is over. Raise Refused."""
        request.message.reply_to = self._reply_to
        try:
            await self._publisher.publish(topology.JOBS, request.queue, request.message, LATE_CONFIRM_TIMEOUT)
        except (NotConfirmed, BrokerGone, RuntimeError) as problem:  # the last is what a closed connection raises
            if isinstance(problem, Unroutable) or isinstance(problem.__cause__, DeliveryError):
                raise Refused(
                    f"The broker took no job for {request.queue}: {problem}", Published.NO, request.job
                ) from None
            self._end(f"a publish failed: {problem}")
            return Published.UNKNOWN
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._end("the connection was closed")  # the client library's way to say so
            return Published.UNKNOWN
        return Published.CONFIRMED


async def _listen(channel: AbstractChannel, place: Place, heard: Heard) -> str:
    """Have replies come to `heard`; return their address."""
    fixed = place.style is Style.FIXED
    try:
        name = DIRECT_REPLY_TO if place.style is Style.DIRECT else await _declared(channel, place)
        if fixed:
            await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.get_queue(name, ensure=False)
        await queue.consume(heard, no_ack=not fixed, exclusive=fixed)
    except ChannelLockedResource as problem:
        raise QueueTaken(_taken(place, problem)) from problem
    except ChannelAccessRefused as problem:
        if "exclusive use" in str(problem):
            raise QueueTaken(_taken(place, problem)) from problem
        raise Refused(f"The broker refuses the {place.style} reply queue {place.queue!r}: {problem}") from problem
    except ChannelPreconditionFailed as problem:
        raise Refused(
            f"There is a queue {place.queue!r} already, and it's no reply queue of this kind: {problem}"
        ) from problem
    return name


def _taken(place: Place, problem: Exception) -> str:
    return (
        f"The reply queue {place.queue!r} has another client ({problem}). Give each client a queue of its own; one whose "
        "process died without closing is let go after a minute at most"
    )


async def _declared(channel: AbstractChannel, place: Place) -> str:
    if place.style is Style.FIXED:
        arguments: dict[str, FieldValue] = {"x-queue-type": "classic", "x-expires": round(place.expires * 1000)}
        await channel.declare_queue(place.queue, durable=True, arguments=arguments)
        return place.queue
    # A name of its own for each connection: the broker may still keep the last one's.
    name = f"{place.queue}.{uuid4()}" if place.queue else None
    return (await channel.declare_queue(name, exclusive=True, arguments={"x-queue-type": "classic"})).name
