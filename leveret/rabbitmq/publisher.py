"""Publish so that it is known to have arrived: persistent, mandatory unless said otherwise, confirmed, and never waiting
for ever. A publish under an alarm of the broker waits for its end, where the alarm is known; nothing is published again on
a connection on which it may still be confirmed.

A publish that raises may still have arrived (the confirm was lost); whoever publishes again makes it at least once.

What somebody deleted of Leveret's is declared again as soon as a publish misses it, and what was unconfirmed is published
again, on another channel where the broker has closed this one for a missing exchange. It also closes it for a message that
is wrong, and all later publishes on it fail: whoever has a Publisher watches `closed`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, FieldValue
from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity, ChannelPreconditionFailed, PublishError

from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.confirmed_writes import ConfirmedWrites
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone
from leveret.rabbitmq.declare import Declared
from leveret.rabbitmq.unmade import instead
from leveret.topology import shared

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT = 30.0  # s; a broker under a memory or disk alarm confirms nothing
# For what must not be there twice. While the connection lives a confirm that is late still comes: so wait for it, and publish
# again only when the broker refused, or on the next connection.
LATE_CONFIRM_TIMEOUT = 3600.0  # s, without those of an alarm; then something is broken, and the channel is given up
PAUSE_AFTER_REFUSAL = 1.0  # s
CLOSED_WITHIN = (
    10.0  # s after a publish that failed because of it, a channel is known to be closed; mostly milliseconds
)


class NotConfirmed(Exception):
    """The broker did not confirm in time, refused, or is gone: it may or may not have the message."""


class Unroutable(NotConfirmed):
    """The broker has no queue for this routing key: it does not have the message."""


class Nacked(NotConfirmed):
    """The broker refused it, as for a queue that is full: it does not have the message."""


class _Line:
    """A channel that is published on, until it is closed."""

    def __init__(self, channel: AbstractChannel) -> None:
        self.channel = channel
        self.because: BaseException | None = None
        self.closed = asyncio.Event()
        self.send = ConfirmedWrites(channel).send
        channel.close_callbacks.add(lambda _, problem: self.give_up(problem))

    def give_up(self, problem: BaseException | None) -> None:
        self.because = problem
        self.closed.set()


class Publisher:
    """A channel with publisher confirms. Many publishes may be in flight at once."""

    def __init__(self, channel: AbstractChannel, alarm: Alarm | None = None, declared: Declared | None = None) -> None:
        self._line = _Line(channel)
        self._patience = alarm.patience if alarm else asyncio.timeout
        self._declared = declared
        self._opening = asyncio.Lock()
        self.confirmed = 0  # publishes so far

    @classmethod
    async def open(
        cls, connection: AbstractConnection, *, alarm: Alarm | None = None, declared: Declared | None = None
    ) -> "Publisher":
        """`declared` is what is declared again where it is missing: if not given, what all job queues share."""
        declared = declared or Declared(connection, shared())
        return cls(await declared.channel(confirms=True), alarm, declared)

    @property
    def is_closed(self) -> bool:
        return self._line.channel.is_closed

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        message: aio_pika.Message,
        timeout: float = CONFIRM_TIMEOUT,
        *,
        mandatory: bool = True,
        only_there: bool = False,
    ) -> None:
        """Return once the broker has confirmed; raise NotConfirmed, Nacked, or Unroutable if it's mandatory.

        `timeout` in seconds, not counting those of an alarm; after LATE_CONFIRM_TIMEOUT all is over, as for `closed`.
        `only_there`: nothing takes the place of a queue that can't be made.
        """
        try:
            async with self._patience(timeout):
                line = self._line
                try:
                    await line.send(*self._to(exchange, routing_key, message, only_there), mandatory=mandatory)
                except (PublishError, ChannelNotFoundEntity, ChannelInvalidStateError) as problem:
                    if not await self._mended(line, problem):
                        raise
                    await self._line.send(*self._to(exchange, routing_key, message, only_there), mandatory=mandatory)
                self.confirmed += 1
        except PublishError as problem:
            raise Unroutable(f"no queue takes {routing_key!r} from exchange {exchange!r}") from problem
        except aio_pika.exceptions.DeliveryError as problem:
            raise Nacked(f"{type(problem).__name__}: {problem}") from problem
        except BrokerErrors as problem:
            if isinstance(problem, TimeoutError) and timeout >= LATE_CONFIRM_TIMEOUT:
                self._line.give_up(TimeoutError(f"no confirm for {timeout:.0f} s"))
                raise BrokerGone(f"no confirm for {timeout:.0f} s") from problem
            raise NotConfirmed(f"{type(problem).__name__}: {problem}") from problem

    def _to(
        self, exchange: str, routing_key: str, message: aio_pika.Message, only_there: bool
    ) -> tuple[str, str, aio_pika.Message]:
        names = self._declared.unmade.said if self._declared and not only_there else ()
        return instead(names, exchange, routing_key, message) if names else (exchange, routing_key, message)

    async def closed(self) -> None:
        """Wait until the channel is closed, alone or with its connection, with no other in its place; raise BrokerGone."""
        while True:
            line = self._line
            await line.closed.wait()
            if not await self._replaced(line):
                raise BrokerGone(f"the channel that is published on was closed: {line.because}")

    async def _mended(self, line: _Line, problem: Exception) -> bool:
        """Tell whether it makes sense to publish again: what was missing is there again."""
        if self._declared is None:
            return False
        if isinstance(problem, PublishError):
            await self._declared.again(str(problem))
            return True
        try:
            async with asyncio.timeout(CLOSED_WITHIN):
                await line.closed.wait()
        except TimeoutError:
            return False
        return await self._replaced(line)

    async def _replaced(self, line: _Line) -> bool:
        """See to another channel in the place of one that was closed for a missing exchange."""
        if self._declared is None or not isinstance(line.because, ChannelNotFoundEntity):
            return False
        async with self._opening:
            if self._line is line:
                await self._declared.again(str(line.because))
                self._line = _Line(await self._declared.channel(confirms=True))
        return True


async def until_confirmed(
    publish: Callable[[], Awaitable[None]], what: str, *, pause: float = PAUSE_AFTER_REFUSAL, **fields: object
) -> None:
    """Publish, and again `pause` seconds after each refusal, until confirmed; `what` and `fields` are for the log."""
    while True:
        try:
            return await publish()
        except NotConfirmed as problem:
            log.warning("not confirmed; it is published again", what=what, because=str(problem), **fields)
            await asyncio.sleep(pause)


class Channels(Protocol):
    """A connection, or a few channels of one."""

    def channel(self) -> AbstractAsyncContextManager[AbstractChannel]: ...


def persistent_json(body: bytes, headers: Mapping[str, FieldValue] | None = None) -> aio_pika.Message:
    return aio_pika.Message(
        body,
        headers={**(headers or {})},
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


async def takes(channels: Channels, message: aio_pika.Message) -> bool:
    """Tell whether the broker takes such a message at all: not if it closes a channel for it.

    It's sent to nobody, on a channel that nobody else uses meanwhile. Raises NotConfirmed where the answer isn't known.
    """
    try:
        async with asyncio.timeout(CONFIRM_TIMEOUT), channels.channel() as channel:
            await (await channel.get_exchange("", ensure=False)).publish(message, "", mandatory=False)
    except ChannelPreconditionFailed:
        return False
    # The last is what opening a channel on a closed connection raises.
    except (aio_pika.exceptions.DeliveryError, *BrokerErrors, RuntimeError) as problem:
        raise NotConfirmed(f"{type(problem).__name__}: {problem}") from problem
    return True
