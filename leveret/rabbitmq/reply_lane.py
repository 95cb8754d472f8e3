"""A channel for replies, and the replies on it that have no answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import aio_pika

from leveret.rabbitmq.connection import BrokerGone
from leveret.rabbitmq.publisher import LATE_CONFIRM_TIMEOUT

DEFAULT_EXCHANGE = ""  # the routing key is a queue's name, or a direct reply's address
AT_ONCE = 180  # replies on one of them without an answer


class Channel(Protocol):
    """With publisher confirms."""

    @property
    def is_closed(self) -> bool: ...

    async def publish(
        self, exchange: str, routing_key: str, message: aio_pika.Message, timeout: float, *, mandatory: bool = True
    ) -> None: ...


Opens = Callable[[], Awaitable[Channel]]


class Lane:
    """One channel, opened when it's needed."""

    def __init__(self, opens: Opens) -> None:
        self._opens, self._opening = opens, asyncio.Lock()
        self._channel: Channel | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        self.unanswered: dict[Reply, None] = {}  # the oldest first
        self.answers = 0  # so far
        self.moves = 0  # of them to the oldest: who is behind it has come nearer to its turn
        self.stuck = False

    def waits_for(self, address: str) -> bool:
        """Tell whether the reply that all others wait behind, if any does, is one to this address."""
        oldest = next(iter(self.unanswered), None)
        return oldest is not None and oldest.address == address

    async def publish(self, reply: "Reply") -> None:
        """Return once it's confirmed; raise NotConfirmed, BrokerGone, or one of BrokerErrors."""
        async with self._room:
            async with self._opening:
                if self._channel is None or self._channel.is_closed:
                    self._channel = await self._opens()
            self.unanswered[reply] = None
            try:
                await self._channel.publish(
                    DEFAULT_EXCHANGE, reply.address, reply.message, LATE_CONFIRM_TIMEOUT, mandatory=False
                )
            except BrokerGone:  # nothing was confirmed on it for an hour
                self._channel = None
                raise
            finally:
                self.answers += 1
                self.moves += reply is next((one for one in self.unanswered if not one.dropped), None)
                del self.unanswered[reply]
                self.stuck = False


@dataclass(slots=True, eq=False)
class Reply:
    address: str
    message: aio_pika.Message
    job: str
    queue: str  # the job's
    lane: Lane
    failed_before: bool
    refused: asyncio.Future[None]  # once it was, and may be tried again
    dropped: bool = False
    in_room: bool = True
    seen: int = 0  # answers on its lane, when it last came nearer to its turn
