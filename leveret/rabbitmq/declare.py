"""Declare a topology on a broker, and declare it again where somebody has deleted some of it.

What is there with the same arguments stays as it is, messages included. What is not there says so to whoever publishes: an
exchange that is gone closes the channel, a queue or a binding that is gone returns the message.
"""

import asyncio
import math
from collections.abc import Awaitable, Collection, Iterable, Iterator, Sequence
from typing import Any

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq import spec
from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelNotFoundEntity, ConnectionInternalError
from pamqp.base import Frame

from leveret.rabbitmq.unmade import Unmade, unmade_of, without
from leveret.topology import Topology

log = structlog.get_logger(__name__)

AT_MOST_EVERY = 1.0  # s


async def declare(channel: AbstractChannel, *topologies: Topology) -> None:
    """Declare the exchanges of each topology, then its queues, then its bindings, all durable, without those that can't be made.

    They are written together and answered one after the other: a round trip where each would cost one, of each process
    that comes back to a broker that was restarted. Raises aio_pika's ChannelPreconditionFailed, and the broker closes the
    channel, where something of that name exists with other arguments; ConnectionInternalError, and the connection ends, where
    a queue can't be made, which is noted for the next connection. A cancelled one leaves a channel that is of no use.
    """
    unmade = unmade_of(getattr(channel, "_connection", None))  # which the library has no name for
    try:
        await _declare(channel, topologies, unmade.said)
    except ConnectionInternalError as problem:
        unmade.note(problem, topologies)
        raise


async def declare_apart(unmade: Unmade, *topologies: Topology, though: str = "") -> None:
    """Declare on a connection of its own, so that no other ends, without what can't be made but `though`; raises as `declare`."""
    assert unmade.opens
    async with await unmade.opens() as connection, await connection.channel(publisher_confirms=False) as channel:
        await _declare(channel, topologies, unmade.said.keys() - {though})


async def declare_missing(connection: AbstractConnection, topology: Topology) -> None:
    """Declare it all unless its last exchange and its last queue are there: then all was declared, this far at least.

    What somebody has deleted of it since then is declared again by whoever misses it. Raises as `declare` does.
    """
    last = [
        *(spec.Exchange.Declare(exchange=one.name, passive=True) for one in topology.exchanges[-1:]),
        *(spec.Queue.Declare(queue=one.name, passive=True) for one in topology.queues[-1:]),
    ]
    try:
        async with await connection.channel(publisher_confirms=False) as channel:
            await _ask(channel, last)
    except ChannelNotFoundEntity:
        async with await connection.channel(publisher_confirms=False) as channel:
            await declare(channel, topology)


async def are_there(opening: Awaitable[AbstractChannel], queues: Iterable[str]) -> bool:
    """Ask on a channel of its own, which the broker closes where one isn't; raises one of BrokerErrors."""
    try:
        async with await opening as channel:
            await _ask(channel, [spec.Queue.Declare(queue=name, passive=True) for name in queues])
    except ChannelNotFoundEntity:
        return False
    return True


async def _declare(channel: AbstractChannel, topologies: Iterable[Topology], but: Collection[str]) -> None:
    await _ask(channel, [frame for topology in topologies for frame in _frames(without(topology, but))])


async def _ask(channel: AbstractChannel, frames: Sequence[Frame]) -> None:
    underlay: Any = await channel.get_underlay_channel()

    async def ask() -> None:
        async with underlay.lock:
            await underlay.write_queue.put(ChannelFrame.marshall(underlay.number, frames))
            for _ in frames:
                await underlay.rpc_frames.get()
                underlay.rpc_frames.task_done()

    await underlay.create_task(ask())  # a task of the channel's ends with it, and raises what the broker has against it


def _frames(topology: Topology) -> Iterator[Frame]:
    for exchange in topology.exchanges:
        yield spec.Exchange.Declare(
            exchange=exchange.name, exchange_type=exchange.type, durable=True, arguments={**exchange.arguments}
        )
    for queue in topology.queues:
        yield spec.Queue.Declare(queue=queue.name, durable=True, arguments={**queue.arguments})
    for binding in topology.bindings:
        yield spec.Queue.Bind(queue=binding.queue, exchange=binding.exchange, routing_key=binding.key)


class Declared:
    """What all that is done over a connection relies on; it has been declared when the connection was new."""

    def __init__(self, connection: AbstractConnection, *topologies: Topology) -> None:
        self._connection, self._topologies = connection, topologies
        self.unmade = unmade_of(connection)
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
                if because and self.unmade.opens and not await self._all_there():
                    await self._make()
                async with await self.channel() as channel:
                    await declare(channel, *self._topologies)
            finally:
                self._ended = loop.time()

    async def _all_there(self) -> bool:
        names = [queue.name for topology in self._topologies for queue in without(topology, self.unmade.said).queues]
        return await are_there(self.channel(), names)

    async def _make(self) -> None:
        """Declare apart what is missing, until nothing else is: work goes on over this connection."""
        queues = [Topology(one.exchanges, one.queues, ()) for one in self._topologies]
        while True:
            try:
                return await declare_apart(self.unmade, *queues)
            except ConnectionInternalError as problem:
                if not self.unmade.note(problem, self._topologies):
                    raise

    async def channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel; raises one of BrokerErrors."""
        try:
            return await self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        except RuntimeError as problem:  # what a closed connection raises
            raise ConnectionResetError(str(problem)) from problem
