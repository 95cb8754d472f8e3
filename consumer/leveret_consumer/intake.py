"""Consume a queue for as long as a connection lasts, whatever the broker does to the subscription.

There is one subscription in use. It's replaced, beside the old one so that nothing waits, when another prefetch is
better or when the broker has lost it; after a `basic.cancel` there is nothing to keep, and a new one is tried until the
queue is there. What was delivered to an old subscription is settled on its channel, which is closed after the last.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Protocol

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import ChannelNotFoundEntity

from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret_consumer.lane import Lane
from leveret_consumer.prefetch import Terms
from leveret_consumer.subscription import Look, QueueMissing, Subscription, Take, lost, next_look

log = structlog.get_logger(__name__)

TICK = 0.5  # s
# A new subscription looks sooner, until its first second is over: by then another prefetch should be in use if it's better.
FIRST_TICK, FIRST_TICKS_FOR = 0.1, 1.0  # s
# Subscribing to a quorum queue in the milliseconds of its deletion is an internal error (541) to the broker: it closes the
# connection, and with it goes what still runs on the old channel.
SUBSCRIBES_AGAIN_AFTER = 1.0  # s
# Each try for a queue that is missing costs a channel, and the broker a line in its log. One that is about to be made is
# there within the first minute; later, within so long of a try.
SOON, SELDOM = 60.0, 5.0  # s


class QueueListener(Protocol):
    """Is told whether the queue is consumed."""

    def consumes(self) -> None: ...

    def waits(self, because: str) -> None: ...


class Intake:
    """One queue's deliveries on one connection."""

    def __init__(
        self,
        connection: AbstractConnection,
        queue: str,
        tag: str,
        take: Take,
        listener: QueueListener,
        *,
        terms: Callable[[], Terms],
        lane: Lane,
        shrunk: Callable[[str], Awaitable[object]] | None = None,
        channel_closed: Callable[[str], object] = lambda _: None,
        single_active: bool = False,
        looks_for_queue_every: float = 1.0,
    ) -> None:
        """`terms` is asked at every tick; `shrunk` is told the tag of a subscription that held too much.

        `channel_closed` is told the tag when the broker has what it delivered on a channel again.
        """
        self._connection, self._queue, self._tag, self._take, self._listener = connection, queue, tag, take, listener
        self._terms, self._shrunk, self._single_active = terms, shrunk, single_active
        self._lane, self._channel_closed = lane, channel_closed
        self._looks_for_queue_every = looks_for_queue_every
        self._numbers = count()
        self._subscriptions: list[Subscription] = []
        self._cancelled = False
        self._background: set[asyncio.Task[None]] = set()  # cancels and retirements
        self._channel: AbstractChannel | None = None  # for looks
        self._looking: asyncio.Task[Look | None] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Subscribe, and again whenever that ends, until asked to stop; raise BrokerGone if a channel in use is closed."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        while not stop.is_set():
            try:
                current = await self._subscribe(self._terms())
            except QueueMissing as missing:
                self._listener.waits(f"{missing} yet: the operator makes it for its JobQueue")
                seldom = loop.time() - since >= SOON
                await _pause(max(self._looks_for_queue_every, SELDOM if seldom else 0), stop)
                continue
            self._listener.consumes()
            current = await self._keep(current, stop)
            since = loop.time()
            if current.channel_closed:
                raise BrokerGone("the broker closed the channel that jobs were delivered on")
            if not stop.is_set():
                self._listener.waits("the broker ended the consumer; subscribing again")
                self._retire(current)
                await _pause(SUBSCRIBES_AGAIN_AFTER, stop)

    def cancel(self) -> None:
        """Take no more. The broker's answer is not waited for, and not given up: giving it up would close the channel."""
        self._cancelled = True
        for subscription in self._subscriptions:
            self._in_background(_cancel(subscription))

    def close(self) -> None:
        """Wait for nothing: the connection ends."""
        for task in self._background:
            task.cancel()
        if self._looking:
            self._looking.cancel()

    async def _subscribe(self, terms: Terms) -> Subscription:
        number = next(self._numbers)
        subscription = await Subscription.open(
            self._connection,
            self._queue,
            f"{self._tag}.{number}" if number else self._tag,
            terms,
            self._take,
            self._lane,
            self._channel_closed,
        )
        self._subscriptions.append(subscription)
        if self._cancelled:  # meanwhile, under an alarm perhaps
            self._in_background(_cancel(subscription))
        return subscription

    async def _keep(self, current: Subscription, stop: asyncio.Event) -> Subscription:
        """Keep subscribed, with what is wanted, until the broker ends it or a stop; return the latest subscription."""
        terms, found = self._terms(), None
        loop = asyncio.get_running_loop()
        began = loop.time()
        look_at = began + next_look(None)
        while True:
            tick = FIRST_TICK if loop.time() - began < FIRST_TICKS_FOR else TICK
            await _pause(tick, stop, current.gone, look=self._looking)
            if stop.is_set() or current.gone.is_set():
                return current
            others = self._terms()
            if others != terms:
                current = await self._resize(current, terms, others)
                terms, found = others, None
            if self._looking is None and loop.time() >= look_at:
                # Not waited for: a broker under an alarm may answer much later, and a stop must not wait with it.
                self._looking = asyncio.create_task(self._look(current))
            elif self._looking and self._looking.done():
                before, found = found, None if self._looking.cancelled() else self._looking.result()
                self._looking = None
                if found and lost(before, found):
                    current, found = await self._again(current, terms), None
                look_at = loop.time() + next_look(found)

    async def _resize(self, old: Subscription, before: Terms, after: Terms) -> Subscription:
        log.info("another prefetch", queue=self._queue, before=before.prefetch, after=after.prefetch)
        return await self._replace(old, after, shrinks=after.prefetch < before.prefetch)

    async def _again(self, old: Subscription, terms: Terms) -> Subscription:
        log.warning("the broker does not have this consumer any more; subscribing anew", queue=self._queue, tag=old.tag)
        self._listener.waits("the broker lost the consumer; subscribing anew")
        new = await self._replace(old, terms)
        if new is not old:
            self._listener.consumes()
        return new

    async def _replace(self, old: Subscription, terms: Terms, *, shrinks: bool = False) -> Subscription:
        """Subscribe anew, then end the old subscription."""
        try:
            new = await self._subscribe(terms)
        except QueueMissing:
            old.gone.set()  # as the broker is about to tell, or should have
            return old
        await old.cancel()
        if shrinks and self._shrunk:
            # Before its channel is closed, which would give back what waits as well, but count it as failed.
            await self._shrunk(old.tag)
        self._retire(old)
        return new

    async def _look(self, current: Subscription) -> Look | None:
        """Look at the queue; None if there is none, or nothing is known of it."""
        try:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._connection.channel(publisher_confirms=False)
            declared = await self._channel.declare_queue(self._queue, passive=True)
        except ChannelNotFoundEntity:
            current.gone.set()
            return None
        except BrokerErrors as problem:
            log.debug("a look at the queue failed", queue=self._queue, because=str(problem))
            return None
        result = declared.declaration_result
        return Look(
            consumers=result.consumer_count or 0,
            ready=result.message_count or 0,
            delivered=current.delivered,
            room=current.has_room,
            shares=not self._single_active,
        )

    def _retire(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        self._in_background(subscription.retire())

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def _cancel(subscription: Subscription) -> None:
    try:
        await subscription.cancel()
    except BrokerErrors as problem:
        log.debug("not cancelled: the channel is closed", tag=subscription.tag, because=str(problem))


async def _pause(seconds: float, *events: asyncio.Event, look: "asyncio.Task[Look | None] | None" = None) -> None:
    """Wait so long, or until one of the events, or until a look has been taken."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([*waiting, *([look] if look else [])], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
