"""For pretended channels: what is published on one is handed to its exchange at once."""

from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel

from leveret.rabbitmq.confirmed_writes import ConfirmedWrites


def writes(channel: Any) -> Any:
    """Return what publishes on a channel; real ones have what they always have."""
    return ConfirmedWrites(channel) if isinstance(channel, AbstractChannel) else _PlainWrites(channel)


class _PlainWrites:
    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def send(self, exchange: str, routing_key: str, message: aio_pika.Message, *, mandatory: bool) -> None:
        its = await self._channel.get_exchange(exchange, ensure=False)
        await its.publish(message, routing_key, mandatory=mandatory)
