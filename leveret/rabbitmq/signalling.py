"""Send signals. They are for now: neither persistent nor confirmed, and a lost one is not missed.

If somebody has deleted the exchange, the broker closes the channel that a signal is sent on. So they have one of their own,
which is opened again when the exchange is declared again; the next signal arrives.
"""

import aio_pika
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity

from leveret import signals, topology
from leveret.rabbitmq.declare import Declared
from leveret.signals import Signal


class Signalling:
    """Over one connection."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self._exchange: AbstractExchange | None = None

    async def send(self, signal: Signal, timeout: float | None = None) -> None:
        """Write a signal to the connection; raises one of BrokerErrors, as when that takes longer than `timeout` seconds."""
        message = aio_pika.Message(signals.encode(signal), delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT)
        for _ in range(2):
            if self._exchange is None:
                channel = await self._declared.channel()
                self._exchange = await channel.get_exchange(topology.SIGNALS, ensure=False)
            try:
                await self._exchange.publish(message, signals.routing_key(signal), mandatory=False, timeout=timeout)
            except (ChannelNotFoundEntity, ChannelInvalidStateError) as problem:  # one before had no exchange
                self._exchange = None
                await self._declared.again(str(problem))
            else:
                return
