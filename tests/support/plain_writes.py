"""For pretended channels: what is published on one is handed to its `publish` at once."""

from typing import Any

import aio_pika


class PlainWrites:
    """In the place of ConfirmedWrites."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    async def send(self, exchange: str, routing_key: str, message: aio_pika.Message, *, mandatory: bool) -> None:
        await self._channel.publish(message, routing_key, mandatory=mandatory)
