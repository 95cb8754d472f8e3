"""Which acks to send on a channel, so that a batch of ends costs few of them, and sending them.

A channel numbers its deliveries 1, 2, 3 …, and a *multiple* ack takes its number and all below that are still out. So it
may only go as far as every number is known to be finished or given back: a job that still runs stops it, and so does a
number that was never heard of. What has finished beyond that is acknowledged one by one.

All that ends in the same turn of the loop, or while the last acks are written, goes together: the ends of a batch of reports
are confirmed at once, so their deliveries end in the same turn, and are one flush in the turn after. Nothing that has
finished waits for anything but the acks that are being written.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping

import msgspec
import structlog
from aio_pika.abc import FieldValue
from aiormq.abc import AbstractChannel, DeliveredMessage

from leveret.ending import looked_at
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret_consumer.lane import Lane

log = structlog.get_logger(__name__)

Written = Callable[[BaseException | None], object]  # is told None, or why an ack can't be written

LOST = (BrokerGone, *BrokerErrors)  # what an ack or a publish raises when its channel is gone


class Acks(msgspec.Struct, frozen=True):
    """What to write now."""

    through: int | None = None  # a multiple ack: this number and all below
    singles: tuple[int, ...] = ()  # in order


class Acknowledger:
    """The numbers of one channel. What it keeps is at most what the broker lets the channel have unacknowledged.

    Pure: it knows numbers, not the channel. Whoever writes keeps one order: what is given back is written first and told
    here after, else a multiple ack could overtake it and take a job that nobody has run.
    """

    def __init__(self) -> None:
        self._highest = 0  # that was heard of
        self._out: set[int] = set()  # those up to there that still run, or that nobody has heard of
        self._finished: set[int] = set()  # not acknowledged yet

    def finished(self, tag: int) -> None:
        """Note a delivery that the next flush acknowledges; raise ValueError for one that is gone."""
        self._take(tag)
        self._finished.add(tag)

    def given_back(self, tag: int) -> None:
        """Note a delivery whose nack or reject has been written; raise ValueError for one that is gone."""
        self._take(tag)

    def flush(self) -> Acks:
        """Return the acks for all that has finished since the last flush."""
        first_out = min(self._out, default=self._highest + 1)
        # Not simply the number below the first one out: a multiple ack that finds nothing is an error to the broker.
        through = max((tag for tag in self._finished if tag < first_out), default=None)
        singles = tuple(sorted(tag for tag in self._finished if tag > first_out))
        self._finished.clear()
        return Acks(through, singles)

    def _take(self, tag: int) -> None:
        if tag > self._highest:
            self._out.update(range(self._highest + 1, tag + 1))
            self._highest = tag
        if tag not in self._out:
            raise ValueError(f"delivery {tag} is acknowledged or given back already")
        self._out.remove(tag)


class ChannelAcks:
    """Those of one channel."""

    def __init__(self, channel: AbstractChannel, lane: Lane) -> None:
        self._channel, self._lane = channel, lane
        self._tags = Acknowledger()
        self._writing = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None  # a flush that has not begun
        self._soon: list[Written] = []  # told of that one
        self.settled = 0  # deliveries that are finished or given back

    async def finished(self, tag: int) -> None:
        """Acknowledge a delivery; return once that is written, raise a broker error or BrokerGone if it can't be."""
        await asyncio.shield(self._finished(tag))

    def finished_soon(self, tag: int, then: Written) -> None:
        """Acknowledge a delivery; `then` is told None once that is written, or why it can't be."""
        self._finished(tag)
        self._soon.append(then)

    def _finished(self, tag: int) -> "asyncio.Task[None]":
        self._tags.finished(tag)
        self.settled += 1
        if self._next is None:
            self._next = asyncio.create_task(self._flush())
            self._next.add_done_callback(looked_at)  # whoever is told soon looks at no task
        return self._next

    async def give_back(self, tag: int, *, requeue: bool = True) -> None:
        """nack a delivery: back to the queue, or to its dead letters."""
        async with self._writing:
            await self._channel.basic_nack(tag, requeue=requeue)
            self._tags.given_back(tag)
            self.settled += 1

    async def _flush(self) -> None:
        async with self._writing:
            self._next, soon, self._soon = None, self._soon, []
            problem: BaseException | None = None
            try:
                await self._write(self._tags.flush())
            except LOST as lost:
                problem = lost
                raise
            finally:
                for then in soon:
                    then(problem)

    async def _write(self, acks: Acks) -> None:
        written = [(acks.through, True)] if acks.through is not None else []
        written += ((tag, False) for tag in acks.singles)
        try:
            await self._lane.acknowledge(self._channel, written)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise BrokerGone("the connection ended while acks were written") from None  # how aiormq says it


class Delivered:
    """A message as it was delivered, whose ack goes together with others'; what it's read by is a `wire.Message`."""

    __slots__ = (
        *("_acks", "processed", "source", "_channel", "body", "consumer_tag", "delivery_tag", "redelivered"),
        *("headers", "content_type", "content_encoding", "priority", "correlation_id", "reply_to"),
        *("message_id", "timestamp", "type", "app_id"),
    )

    def __init__(self, raw: DeliveredMessage, acks: ChannelAcks) -> None:
        properties = raw.header.properties
        self._acks, self._channel, self.processed = acks, raw.channel, False
        self.source: str | None = None  # the dead letters' queue that it comes from, None if it's from the own queue
        self.body = raw.body
        self.consumer_tag, self.delivery_tag, self.redelivered = raw.consumer_tag, raw.delivery_tag, raw.redelivered
        self.headers: Mapping[str, FieldValue] = properties.headers or {}
        self.content_type, self.content_encoding = properties.content_type, properties.content_encoding
        self.priority, self.correlation_id = properties.priority, properties.correlation_id
        self.reply_to, self.message_id = properties.reply_to, properties.message_id
        self.timestamp, self.type, self.app_id = properties.timestamp, properties.message_type, properties.app_id

    @property
    def is_lost(self) -> bool:
        """Whether its channel is closed, so that the broker has it again."""
        return self._channel.is_closed

    async def ack(self) -> None:
        # Processed from here on: whoever is cancelled while it waits must not give back what is acknowledged.
        self.processed = True
        await self._acks.finished(self.delivery_tag or 0)

    def ack_soon(self, then: Written) -> None:
        """Acknowledge without waiting for it; `then` is told how that ends."""
        self.processed = True
        self._acks.finished_soon(self.delivery_tag or 0, then)

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Do something about the delivery that ends with its channel."""
        self._channel.create_task(work)

    async def nack(self, requeue: bool = True) -> None:
        self.processed = True
        await self._acks.give_back(self.delivery_tag or 0, requeue=requeue)


async def give_back(message: Delivered) -> None:
    """nack, not reject: the broker counts a reject as a failed delivery."""
    try:
        if not message.processed:
            await message.nack(requeue=True)
    except LOST:
        log.debug("not given back: the channel is gone, and the broker takes back what it delivered on it")


async def leave_to_broker(message: Delivered) -> None:
    """Reject: the broker, which has the message, makes a dead letter of it itself. What is one already can only go back."""
    if message.source:
        await give_back(message)
    elif not message.processed:
        await message.nack(requeue=False)
