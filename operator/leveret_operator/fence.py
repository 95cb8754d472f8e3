"""What is written to the broker waits until this process may write: until it holds the Lease."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aio_pika

from leveret.rabbitmq.publisher import Publisher
from leveret.rabbitmq.signalling import Signalling
from leveret.signals import Signal

Held = Callable[[], Awaitable[None]]  # returns once this process may write


async def alone() -> None:
    """Nobody else is the operator."""


@dataclass(frozen=True, slots=True)
class WhileHeld:
    held: Held
    publisher: Publisher
    signalling: Signalling

    async def publish(self, exchange: str, routing_key: str, message: aio_pika.Message) -> None:
        await self.held()
        await self.publisher.publish(exchange, routing_key, message)

    async def send(self, signal: Signal) -> None:
        await self.held()
        await self.signalling.send(signal)
