"""A connection without a broker, as the client library shows one: what is asked of it is noted in its order.

`answers` is cleared for a broker under an alarm: it takes what is written to it and answers nothing. `hangs` names one thing
that is never answered: "declare", or "open" and a channel's number. `confirms` is awaited before each confirm. `frames` is what
was published, acknowledged and given back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aio_pika
import pamqp.frame
from aio_pika.exceptions import ChannelInvalidStateError, ChannelNotFoundEntity
from aiormq import spec
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp.header import ContentHeader


@dataclass
class Connection:
    queues: set[str] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    published: list[tuple[str, str]] = field(default_factory=list)  # exchange, routing key
    declared: list[str] = field(default_factory=list)  # exchanges
    channels: list["Channel"] = field(default_factory=list)
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    hangs: str = ""
    tags: int = 0
    frames: list[tuple[Any, ...]] = field(default_factory=list)
    confirms: Callable[[str, aio_pika.Message], Awaitable[object]] | None = None

    def __post_init__(self) -> None:
        self.answers.set()
        self.transport: Any = SimpleNamespace(connection=SimpleNamespace(ready=self.answers.wait))

    def channel(self, *, publisher_confirms: bool = False, on_return_raises: bool = False) -> "Channel":
        self.channels.append(Channel(self, publisher_confirms, len(self.channels) + 1))
        return self.channels[-1]

    async def answered(self, what: str) -> None:
        if what == self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    def consumers(self) -> dict[str, "Channel"]:
        return {tag: channel for channel in self.channels for tag in channel.consumers}

    def publisher(self) -> "Channel":
        return next(channel for channel in self.channels if channel.confirms)

    def deliver(self, message: aio_pika.Message, tag: str = "pod") -> asyncio.Task[None]:
        """Deliver to one consumer tag, in a task of its own as the library does; the one here goes on until it's settled."""
        self.tags += 1
        header = ContentHeader(body_size=len(message.body), properties=message.properties)
        channel = self.consumers()[tag]
        raw = DeliveredMessage(
            delivery=spec.Basic.Deliver(tag, self.tags, False, "leveret.jobs", "q"),
            header=header,
            body=message.body,
            channel=channel,  # type: ignore[arg-type]
        )
        return channel.create_task(channel.until_settled(self.tags, channel.consumers[tag](raw)))


class Asked:
    """What `declare` uses of a channel: frames are written together and answered one after the other."""

    number = 1

    def __init__(self) -> None:
        self.lock, self.write_queue, self.rpc_frames = asyncio.Lock(), self, asyncio.Queue[Any]()

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.create_task(work)

    async def put(self, frames: ChannelFrame) -> None:
        octets = frames.payload
        while octets:
            length, _, asked = pamqp.frame.unmarshal(octets)
            octets = octets[length:]
            await self.answer(asked)
            self.rpc_frames.put_nowait(asked)

    async def answer(self, asked: object) -> None:
        """Raise what the broker has against it."""


class Channel(Asked):
    """One, and what the library calls its underlay, in one object."""

    def __init__(self, connection: Connection, confirms: bool, number: int) -> None:
        super().__init__()
        self._connection, self.confirms, self._number = connection, confirms, number
        self._closed = asyncio.Event()
        self.close_callbacks: set[Callable[[object, BaseException | None], None]] = set()
        self.on_consumer_cancel_callbacks: set[Callable[[object], None]] = set()
        self.consumers: dict[str, Callable[[DeliveredMessage], Awaitable[None] | None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.unsettled: dict[int, asyncio.Event] = {}

    def __await__(self) -> Generator[Any, None, "Channel"]:
        yield from self._connection.answered(f"open {self._number}").__await__()
        return self

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """One that ends with the channel."""
        self.tasks.add(task := super().create_task(work))
        task.add_done_callback(self.tasks.discard)
        return task

    async def until_settled(self, tag: int, taken: Awaitable[None] | None) -> None:
        settled = self.unsettled[tag] = asyncio.Event()
        if taken is not None:
            await taken
        await settled.wait()
        for _ in range(5):  # that is written; the consumer lets go of it next
            await asyncio.sleep(0)

    def settle(self, tag: int, *, multiple: bool = False) -> None:
        for one, settled in self.unsettled.items():
            if one == tag or (multiple and one < tag):
                settled.set()

    async def closed(self) -> bool:
        return await self._closed.wait()

    def close_for(self, problem: BaseException | None) -> None:
        for callback in self.close_callbacks:
            callback(self, problem)
        self.consumers.clear()
        self._closed.set()
        for task in self.tasks:
            task.cancel()

    def end_consumer(self, tag: str) -> None:
        """As the broker does with a `basic.cancel`; what was delivered stays."""
        self.consumers.pop(tag)
        for callback in self.on_consumer_cancel_callbacks:
            callback(tag)

    async def close(self) -> None:
        self._connection.told.append("close")
        self.close_for(None)

    async def get_underlay_channel(self) -> "Channel":
        return self

    async def set_qos(self, prefetch_count: int) -> None:
        self._connection.told.append(f"prefetch {prefetch_count}")

    async def basic_consume(self, queue: str, callback: Any, *, consumer_tag: str, arguments: object) -> None:
        await self._connection.answers.wait()
        if queue not in self._connection.queues:
            raise ChannelNotFoundEntity(f"no queue {queue!r}")
        self._connection.told.append(f"consume {consumer_tag}")
        self.consumers[consumer_tag] = callback

    async def basic_cancel(self, consumer_tag: str) -> None:
        self._connection.told.append(f"cancel {consumer_tag}")
        await self._connection.answers.wait()

    async def basic_ack(self, tag: int, multiple: bool = False, wait: bool = True) -> None:
        await asyncio.sleep(0)  # until it's written
        self._connection.told.append(f"ack {tag}")
        self._connection.frames.append(("ack", tag, multiple))
        self.settle(tag, multiple=multiple)

    async def basic_nack(self, tag: int, requeue: bool = True) -> None:
        await asyncio.sleep(0)
        self._connection.told.append(f"{'nack' if requeue else 'reject'} {tag}")
        self._connection.frames.append(("nack", tag, requeue))
        self.settle(tag)

    async def answer(self, asked: object) -> None:
        if (
            isinstance(asked, spec.Exchange.Declare)
            and asked.passive
            and asked.exchange not in self._connection.declared
        ):
            raise ChannelNotFoundEntity(f"no exchange {asked.exchange!r}")
        if isinstance(asked, spec.Exchange.Declare) and not asked.passive:
            self._connection.declared.append(asked.exchange)
        await self._connection.answered("declare")

    async def declare_queue(self, name: str, **_: object) -> Any:
        return SimpleNamespace(declaration_result=SimpleNamespace(consumer_count=1, message_count=0))

    async def get_exchange(self, name: str, *, ensure: bool) -> Any:
        async def publish(message: Any, routing_key: str, *, mandatory: bool, timeout: float | None = None) -> None:
            if self.is_closed:
                raise ChannelInvalidStateError("closed")
            self._connection.frames.append(("publish", name, routing_key, message))
            if self.confirms:
                await self._connection.answers.wait()
                if self._connection.confirms:
                    await self._connection.confirms(name, message)
            self._connection.published.append((name, routing_key))

        return SimpleNamespace(publish=publish)
