"""Publish so that it is known to have arrived: persistent, mandatory unless said otherwise, confirmed, and never waiting
for ever. A publish under an alarm of the broker waits for its end, where the alarm is known.

A publish that raises may still have arrived (the confirm was lost); whoever publishes again makes it at least once. The
broker closes the channel for a message or an exchange that is wrong, and all later publishes on it fail: whoever has a
Publisher watches `closed`.
"""

import asyncio
from collections.abc import Awaitable, Callable

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import ChannelPreconditionFailed

from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT = 30.0  # s; a broker under a memory or disk alarm confirms nothing
# For what must not be there twice. While the connection lives a confirm that is late, as under an alarm, still comes: so
# wait for it, and publish again only when the broker refused.
LATE_CONFIRM_TIMEOUT = 3600.0  # s
PAUSE_AFTER_REFUSAL = 1.0  # s


class NotConfirmed(Exception):
    """The broker did not confirm in time, refused, or is gone: it may or may not have the message."""


class Unroutable(NotConfirmed):
    """The broker has no queue for this routing key: it does not have the message."""


class Publisher:
    """A channel with publisher confirms. Many publishes may be in flight at once."""

    def __init__(self, channel: AbstractChannel, alarm: Alarm | None = None) -> None:
        self._channel = channel
        self._patience = alarm.patience if alarm else asyncio.timeout
        self._exchanges: dict[str, AbstractExchange] = {}

    @classmethod
    async def open(cls, connection: AbstractConnection) -> "Publisher":
        return cls(await connection.channel(publisher_confirms=True, on_return_raises=True))

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        message: aio_pika.Message,
        timeout: float = CONFIRM_TIMEOUT,
        *,
        mandatory: bool = True,
    ) -> None:
        """Return once the broker has confirmed; raise NotConfirmed, or Unroutable if it's mandatory.

        `timeout` in seconds, not counting those of an alarm.
        """
        try:
            async with self._patience(timeout):
                await (await self._exchange(exchange)).publish(message, routing_key, mandatory=mandatory)
        except aio_pika.exceptions.PublishError as problem:
            raise Unroutable(f"no queue takes {routing_key!r} from exchange {exchange!r}") from problem
        except (aio_pika.exceptions.DeliveryError, *BrokerErrors) as problem:
            raise NotConfirmed(f"{type(problem).__name__}: {problem}") from problem

    async def closed(self) -> None:
        """Wait until the channel is closed, alone or with its connection, and raise BrokerGone."""
        because: list[BaseException | None] = []
        self._channel.close_callbacks.add(lambda _, problem: because.append(problem))
        await self._channel.closed()
        raise BrokerGone(f"the channel that is published on was closed: {because[-1] if because else 'unknown why'}")

    async def _exchange(self, name: str) -> AbstractExchange:
        if name not in self._exchanges:
            self._exchanges[name] = await self._channel.get_exchange(name, ensure=False)
        return self._exchanges[name]


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


async def takes(connection: AbstractConnection, message: aio_pika.Message) -> bool:
    """Tell whether the broker takes such a message at all: not if it closes a channel for it.

    It's sent to nobody, on a channel of its own. Raises NotConfirmed where the answer isn't known.
    """
    try:
        async with connection.channel(publisher_confirms=True) as channel:
            await Publisher(channel).publish("", "", message, mandatory=False)
    except NotConfirmed as problem:
        if isinstance(problem.__cause__, ChannelPreconditionFailed):
            return False
        raise
    except (*BrokerErrors, RuntimeError) as problem:  # the last is what opening a channel on a closed connection raises
        raise NotConfirmed(f"{type(problem).__name__}: {problem}") from problem
    return True
