"""What is wanted of jobs, as the stream `leveret.control` tells: read up to its end before anything starts, and then followed.

On a connection of its own, because a stream's messages would stand before the jobs'. Each connection is a new start: where
the stream ends is found, then all is read from 15 minutes back, within which there are whole snapshots, and where there was
none from the first message. Until then, and from the moment that the connection is lost, nothing starts.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import DeliveredMessage

from leveret import control, topology
from leveret.control import Control
from leveret.rabbitmq.connection import BrokerErrors, BrokerGone, stay_connected
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.unmade import Unmade, unmade_of
from leveret.settings import Broker
from leveret_consumer.commands import Commands
from leveret_consumer.load import Load
from leveret_consumer.status import Status

log = structlog.get_logger(__name__)

RECENT, ALL, END = "15m", "first", "last"  # from where a stream is read
PREFETCH = 10  # messages: 200 consumers that come back at once would else fill the broker's memory
MOST_IN_A_CHUNK = (
    4_096  # messages that the broker stores together: the last chunk comes as a whole, to whoever has room for it
)
LOOKS_EMPTY_AFTER = 0.2  # s
NOTHING_RECENT_AFTER = 1.0  # s
MARKED_WITHIN = 5.0  # s
# s without a stream that the broker can't make. Then jobs run by what is known: what is told meanwhile waits with the producers.
UNMADE_FOR = 5.0
UNMADE_TICK = 0.2  # s
PATIENCE = 20.0  # s without a message that is known to be there

Take = Callable[[DeliveredMessage], object]


class ControlInbox:
    """The process's. `changed` is called when jobs may be cancelled that run."""

    def __init__(
        self,
        commands: Commands,
        load: Load,
        status: Status,
        *,
        now: Callable[[], datetime],
        changed: Callable[[], object] = lambda: None,
        recent: str = RECENT,
    ) -> None:
        self.commands, self._load, self._status, self._now, self._changed = commands, load, status, now, changed
        self._recent = recent
        self._is_unmarked = False
        self.up_to_date = asyncio.Event()

    async def run(self, read: Callable[[], Broker], name: str) -> None:
        """Follow the stream until cancelled, on one connection after the other."""
        self._lost("not connected to the broker yet")
        lacks = partial(self._status.lacks, "control")
        await stay_connected(read, name, self._follow, self, lacks=lacks)

    def connected(self) -> None:
        self._lost("leveret.control is being read")

    def disconnected(self, because: str) -> None:
        self._lost(f"leveret.control is not read: {because}")

    def _lost(self, because: str) -> None:
        self.up_to_date.clear()
        self._load.pause()
        self._status.is_behind(because)

    def _caught_up(self) -> None:
        self.up_to_date.set()
        self._status.is_behind("")
        self._load.resume()

    async def _until_made(self, unmade: Unmade) -> None:
        loop, since = asyncio.get_running_loop(), None
        while topology.CONTROL in unmade.said:  # the broker is asked beside
            since = since or loop.time()
            if not self.up_to_date.is_set() and loop.time() - since >= UNMADE_FOR:
                self._caught_up()
            await asyncio.sleep(UNMADE_TICK)
        if self.up_to_date.is_set():
            self._lost("leveret.control is being read")

    async def _follow(self, connection: AbstractConnection) -> None:
        async with await connection.channel(publisher_confirms=False) as channel:
            await declare(channel, topology.control())
        await self._until_made(unmade_of(connection))
        end = await self._end(connection)
        reader = await self._read_to(end, connection)
        self._caught_up()
        try:
            await reader.until(lambda: False, None)
        finally:  # before the connection is closed, which may take its time
            self._lost("leveret.control is not read: the connection ended")

    async def _end(self, connection: AbstractConnection) -> int:
        """Return the last message's offset, -1 if there is none.

        An empty stream says nothing, and neither does a broker that is slow. So what looks empty is given a message.
        """
        reader = await Reader.open(connection, END, lambda _: None, MOST_IN_A_CHUNK)
        if not await reader.until(lambda: reader.offset >= 0, LOOKS_EMPTY_AFTER) and not self._is_unmarked:
            # Under an alarm it's not confirmed; then the next connection believes in what it sees.
            self._is_unmarked = True
            await self._mark(connection)
            self._is_unmarked = False
            await reader.until_heard(lambda: reader.offset >= 0)
        await reader.close()  # whose answer comes after all of the last chunk
        return reader.offset

    async def _mark(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        body = control.encode(Control(self._now()))
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, topology.CONTROL, mandatory=True, timeout=MARKED_WITHIN)
        await channel.close()

    async def _read_to(self, end: int, connection: AbstractConnection) -> "Reader":
        """Return the reader that has read up to there; it goes on."""
        self.commands.begins()
        before = self.commands.snapshots
        reader = await Reader.open(connection, self._recent, self._hear)
        there = await reader.until(lambda: reader.offset >= end, NOTHING_RECENT_AFTER)
        if not there or self.commands.snapshots == before:
            await reader.close()
            self.commands.begins()
            reader = await Reader.open(connection, ALL, self._hear)
            await reader.until_heard(lambda: reader.offset >= end)
        return reader

    def _hear(self, message: DeliveredMessage) -> None:
        try:
            self.commands.hear(control.decode(message.body), self._now())
        except ValueError as problem:
            log.warning("a message in leveret.control can't be read; it is left out", because=str(problem))
        else:
            self._changed()


class Reader:
    """One consumer of the stream, on a channel of its own."""

    def __init__(self, channel: AbstractChannel, underlay: Any, take: Take, tag: str) -> None:
        self._channel, self._underlay, self._take, self._tag = channel, underlay, take, tag
        self._news = asyncio.Event()
        self._gone = False
        self.offset = -1  # of the last message

    @classmethod
    async def open(cls, connection: AbstractConnection, since: str, take: Take, prefetch: int = PREFETCH) -> "Reader":
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=prefetch)
        underlay: Any = await channel.get_underlay_channel()
        made = cls(channel, underlay, take, since)
        underlay.on_consumer_cancel_callbacks.add(made._ended)
        channel.close_callbacks.add(made._ended)
        await underlay.basic_consume(
            topology.CONTROL, made._deliver, consumer_tag=since, arguments={"x-stream-offset": since}
        )
        return made

    async def until(self, seen: Callable[[], bool], silence: float | None) -> bool:
        """Wait until that is so; return False if no message comes for so many seconds. Raises BrokerGone."""
        while not seen():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(silence):
                    await self._news.wait()
            if self._gone:
                raise BrokerGone("the broker ended the consumer of leveret.control")
            if not self._news.is_set():
                return False
        return True

    async def until_heard(self, seen: Callable[[], bool]) -> None:
        """Raise TimeoutError if no message comes for so long, though there are some."""
        if not await self.until(seen, PATIENCE):
            raise TimeoutError(f"the broker did not deliver what is in leveret.control within {PATIENCE:g} s")

    async def close(self) -> None:
        await self._underlay.basic_cancel(self._tag)  # first: an ack on a closed channel would end the connection
        await self._channel.close()

    async def _deliver(self, message: DeliveredMessage) -> None:
        self._take(message)
        offset = (message.header.properties.headers or {}).get("x-stream-offset")
        self.offset = offset if isinstance(offset, int) else self.offset
        self._news.set()
        with suppress(*BrokerErrors):
            await self._underlay.basic_ack(message.delivery_tag, wait=False)  # else no more would come

    def _ended(self, *_: object) -> None:
        self._gone = True
        self._news.set()
