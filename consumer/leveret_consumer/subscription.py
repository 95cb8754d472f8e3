"""Being registered as a consumer of a queue, and noticing when that ends.

The broker ends it with a `basic.cancel` when the queue is deleted, its leader moves or the consumer time-out passes; the
channel and what was delivered on it live on, so running jobs are still acknowledged there.

The message can get lost on the broker's side, for example when a queue moves. The consumer then believes to be subscribed
for ever. What tells, on AMQP alone, is a look at the queue every 5 s: nobody consumes it, or messages are ready, there is
room for them here, and none comes. Either can be so for a moment, so it counts when a second look, 2 s later, finds it again
and nothing was delivered in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, FieldValue
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity

from leveret.rabbitmq.connection import BrokerErrors
from leveret_consumer.acks import ChannelAcks, Delivered
from leveret_consumer.lane import Deliver, Lane
from leveret_consumer.prefetch import Terms

log = structlog.get_logger(__name__)

LOOKS_EVERY = 5.0  # s
LOOKS_AGAIN_AFTER = 2.0  # s
LOOKS_WHETHER_SETTLED_EVERY = 0.1  # s

Take = Callable[[Delivered], Awaitable[None] | None]  # what is left to do, as a task of the delivery's; None: nothing


class QueueMissing(Exception):
    """There is no queue of that name."""


class Subscription:
    """One consumer tag on one channel. The broker takes back what is not acknowledged in time, and ends it."""

    def __init__(
        self,
        channel: AbstractChannel,
        tag: str,
        prefetch: int,
        acks: ChannelAcks,
        tell_of_end: Callable[[str], object],
    ) -> None:
        self._channel, self.tag, self._prefetch, self._acks = channel, tag, prefetch, acks
        self._tell_of_end = tell_of_end
        self._tasks: set[asyncio.Task[object]] = set()
        self.gone = asyncio.Event()  # by the broker
        self.channel_closed = False  # what was delivered on it is lost
        self.delivered = 0  # so far

    @classmethod
    async def open(
        cls,
        connection: AbstractConnection,
        queue: str,
        tag: str,
        terms: Terms,
        take: Take,
        lane: Lane,
        channel_closed: Callable[[str], object] = lambda _: None,
    ) -> "Subscription":
        """Subscribe on a channel of its own; raise QueueMissing, or what else the broker has against it.

        `channel_closed` is told the tag when what was delivered is lost.
        """
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=terms.prefetch)
        underlay: Any = await channel.get_underlay_channel()
        made = cls(channel, tag, terms.prefetch, ChannelAcks(underlay, lane), channel_closed)
        underlay.on_consumer_cancel_callbacks.add(made._cancelled)
        channel.close_callbacks.add(made._closed)
        arguments: dict[str, FieldValue] = {"x-consumer-timeout": round(terms.timeout.total_seconds() * 1000)}
        try:
            await lane.consume(underlay, queue, tag, arguments, made._deliver(take))
        except ChannelNotFoundEntity as problem:
            raise QueueMissing(f"there is no queue {queue}") from problem
        return made

    @property
    def has_room(self) -> bool:
        """Whether the broker may deliver more."""
        return self.delivered - self._acks.settled < self._prefetch

    async def cancel(self) -> None:
        """Take no more; what was delivered stays delivered."""
        if not self.gone.is_set():
            underlay = await self._channel.get_underlay_channel()
            await underlay.basic_cancel(self.tag)

    async def retire(self) -> None:
        """Close the channel once everything that was delivered on it is settled."""
        while self._tasks or (self._acks.settled < self.delivered and not self.channel_closed):
            await (asyncio.wait(set(self._tasks)) if self._tasks else asyncio.sleep(LOOKS_WHETHER_SETTLED_EVERY))
        try:
            await self._channel.close()
        except BrokerErrors:
            log.debug("a channel was closed already")

    def _deliver(self, take: Take) -> Deliver:
        def deliver(raw: DeliveredMessage) -> Coroutine[None, None, None] | None:
            self.delivered += 1
            work = take(Delivered(raw, self._acks))
            return self._follow(work) if work is not None else None

        return deliver

    async def _follow(self, work: Awaitable[None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await work

    def _cancelled(self, frame: object) -> None:
        log.warning("the broker ended the consumer", tag=self.tag)
        self.gone.set()

    def _closed(self, channel: object, problem: BaseException | None) -> None:
        self.channel_closed = True
        self.gone.set()
        self._tell_of_end(self.tag)


class Look(msgspec.Struct, frozen=True):
    """What one look at queue and subscription finds."""

    consumers: int  # of the queue, wherever they are
    ready: int
    delivered: int  # to this subscription since it began
    room: bool  # it holds less than its prefetch
    shares: bool = True  # whether each of the queue's consumers gets some; no if only one of them is active

    @property
    def suspicious(self) -> bool:
        return self.consumers == 0 or (self.shares and self.ready > 0 and self.room)


def next_look(found: Look | None) -> float:
    """Return in how many seconds to look again."""
    return LOOKS_AGAIN_AFTER if found and found.suspicious else LOOKS_EVERY


def lost(before: Look | None, found: Look) -> bool:
    """Tell whether the subscription is one that the broker does not have any more."""
    return before is not None and before.suspicious and found.suspicious and before.delivered == found.delivered
