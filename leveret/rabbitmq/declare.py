"""Declare a topology on a broker, and declare it again where somebody has deleted some of it.

What is there with the same arguments stays as it is, messages included. What is not there says so to whoever publishes: an
exchange that is gone closes the channel, a queue or a binding that is gone returns the message.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import AbstractChannel as UnderlayChannel
from aiormq.exceptions import ChannelInvalidStateError

from leveret.topology import Topology

log = structlog.get_logger(__name__)

AT_MOST_EVERY = 1.0  # s


async def declare(channel: AbstractChannel, *topologies: Topology) -> None:
    """Declare the exchanges of each topology, then its queues, then its bindings, all durable.

    The broker answers the last one only, for all: a round trip where each would cost one, of each process that comes back
    to a broker that was restarted. Raises aio_pika's ChannelPreconditionFailed, and the broker closes the channel, where
    something of that name exists with other arguments.
    """
    underlay = await channel.get_underlay_channel()
    try:
        *first, last = [step for topology in topologies for step in _steps(underlay, topology)]
        for step in first:
            await step(nowait=True)
        await last(nowait=False)
    except ChannelInvalidStateError as problem:  # what the broker said came between two of them
        raise getattr(underlay, "_close_exception", None) or problem from problem


def _steps(channel: UnderlayChannel, topology: Topology) -> Iterator[Callable[..., Awaitable[object]]]:
    for exchange in topology.exchanges:
        arguments = dict(exchange.arguments) or None
        yield partial(
            channel.exchange_declare, exchange.name, exchange_type=exchange.type, durable=True, arguments=arguments
        )
    for queue in topology.queues:
        yield partial(channel.queue_declare, queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings:
        yield partial(channel.queue_bind, binding.queue, binding.exchange, binding.key)


class Declared:
    """What all that is done over a connection relies on; it has been declared when the connection was new."""

    def __init__(self, connection: AbstractConnection, *topologies: Topology) -> None:
        self._connection, self._topologies = connection, topologies
        self._declaring = asyncio.Lock()
        self._ended = -math.inf

    async def again(self, because: str | None = None) -> None:
        """Declare it again, once a second at most, however many miss something; raises one of BrokerErrors.

        `because` is for the log, None where nothing is missed.
        """
        loop = asyncio.get_running_loop()
        async with self._declaring:
            if loop.time() - self._ended < AT_MOST_EVERY:
                return
            if because:
                log.warning("something of Leveret's is missing on the broker; it is declared again", because=because)
            try:
                async with await self.channel() as channel:
                    await declare(channel, *self._topologies)
            finally:
                self._ended = loop.time()

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel; raises one of BrokerErrors."""
        try:
            return await self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        except RuntimeError as problem:  # what a closed connection raises
            raise ConnectionResetError(str(problem)) from problem
