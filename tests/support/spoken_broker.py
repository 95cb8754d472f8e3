"""A broker as far as its frames go: it answers what a client asks, at once or when it's told to, and sends what it's told to.

Over a real socket, so that the client library's reader and writer are the ones that are tried.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pamqp.frame
from pamqp import commands as spec
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from leveret.settings import Broker

Sent = Frame | ContentHeader | ContentBody | Heartbeat
CHANNELS, FRAME = 8, 131_072
BEATS_EVERY = 0.3  # s
_ANSWERS: dict[type, Frame] = {
    spec.Connection.StartOk: spec.Connection.Tune(channel_max=CHANNELS, frame_max=FRAME, heartbeat=60),
    spec.Connection.Open: spec.Connection.OpenOk(),
    spec.Connection.Close: spec.Connection.CloseOk(),
    spec.Channel.Open: spec.Channel.OpenOk(),
    spec.Channel.Close: spec.Channel.CloseOk(),
    spec.Confirm.Select: spec.Confirm.SelectOk(),
    spec.Exchange.Declare: spec.Exchange.DeclareOk(),
    spec.Queue.Declare: spec.Queue.DeclareOk(queue="q", message_count=0, consumer_count=0),
    spec.Queue.Bind: spec.Queue.BindOk(),
    spec.Basic.Qos: spec.Basic.QosOk(),
    spec.Basic.Consume: spec.Basic.ConsumeOk(consumer_tag="tag"),
}
_START = spec.Connection.Start(
    server_properties={"version": "4.3.0", "capabilities": {"publisher_confirms": True, "basic.nack": True}},
    mechanisms="PLAIN",
    locales="en_US",
)


@dataclass
class Message:
    routing_key: str
    properties: spec.Basic.Properties
    body: bytes
    size: int


@dataclass
class SpokenBroker:
    broker: Broker
    asked: list[tuple[int, Frame]] = field(default_factory=list)  # with the channel's number
    reads: asyncio.Event = field(default_factory=asyncio.Event)  # set while it takes what is sent
    stands_at: type | None = None  # what it takes, and then nothing more
    answers: dict[type, Frame] = field(default_factory=lambda: dict(_ANSWERS))
    takes: Callable[[int, "Message"], None] | None = None  # a message that was published on a channel
    _message: Message = field(default_factory=lambda: Message("", spec.Basic.Properties(), b"", 0))
    _writer: asyncio.StreamWriter | None = None
    _serving: asyncio.Task[object] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection; what is sent from outside goes to the latest."""
        self._writer, self._serving = writer, asyncio.current_task()
        beating = asyncio.create_task(self._beat(writer))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readexactly(8)
            _send(writer, 0, _START)
            while True:
                head = await reader.readexactly(7)
                await self.reads.wait()
                rest = await reader.readexactly(int.from_bytes(head[3:]) + 1)
                _, channel, frame = pamqp.frame.unmarshal(head + rest)
                self._gather(channel, frame)
                if isinstance(frame, Frame):
                    self.asked.append((channel, frame))
                    if type(frame) is self.stands_at:
                        await asyncio.Event().wait()
                    if (answer := self.answers.get(type(frame))) is not None:  # one without fields counts as false
                        _send(writer, channel, answer)
        beating.cancel()
        writer.close()

    def _gather(self, channel: int, frame: object) -> None:
        match frame:
            case spec.Basic.Publish():
                self._message = Message(frame.routing_key, spec.Basic.Properties(), b"", 0)
            case ContentHeader():
                self._message.properties, self._message.size = frame.properties, frame.body_size
            case ContentBody():
                self._message.body += frame.value
            case _:
                return
        if self.takes and self._message.size and len(self._message.body) == self._message.size:
            self.takes(channel, self._message)

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await asyncio.sleep(BEATS_EVERY)
            _send(writer, 0, Heartbeat())

    def send(self, channel: int, *frames: Sent) -> None:
        assert self._writer
        _send(self._writer, channel, *frames)

    def hang_up(self) -> None:
        assert self._writer
        self._writer.close()

    def deliver(self, channel: int, messages: int, body: bytes = b"{}") -> None:
        delivery = spec.Basic.Deliver("tag", 1, False, "", "q"), ContentHeader(body_size=len(body)), ContentBody(body)
        for _ in range(messages):
            self.send(channel, *delivery)

    def closes(self) -> list[int]:
        """The numbers of the channels that were asked to be closed."""
        return [channel for channel, frame in self.asked if isinstance(frame, spec.Channel.Close)]


def _send(writer: asyncio.StreamWriter, channel: int, *frames: Sent) -> None:
    writer.write(b"".join(pamqp.frame.marshal(frame, channel) for frame in frames))


@contextlib.asynccontextmanager
async def spoken_broker() -> AsyncIterator[SpokenBroker]:
    made = SpokenBroker(Broker("127.0.0.1", 0, "leveret", "leveret", "/"))
    made.reads.set()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.broker = Broker("127.0.0.1", server.sockets[0].getsockname()[1], "leveret", "leveret", "/")
        try:
            yield made
        finally:
            made.reads.set()
            if made._writer and made._serving:
                made._serving.cancel()
                made._writer.close()
