"""Publish so that it is known to have arrived: persistent, mandatory unless said otherwise, confirmed, and never waiting
for ever. A publish under an alarm of the broker waits for its end, where the alarm is known.

A publish that raises may still have arrived (the confirm was lost); whoever publishes again makes it at least once.
"""

import asyncio

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange

from leveret.rabbitmq.alarm import Alarm
from leveret.rabbitmq.connection import BrokerErrors

CONFIRM_TIMEOUT = 30.0  # s; a broker under a memory or disk alarm confirms nothing


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

    async def _exchange(self, name: str) -> AbstractExchange:
        if name not in self._exchanges:
            self._exchanges[name] = await self._channel.get_exchange(name, ensure=False)
        return self._exchanges[name]
