"""A link to a real broker that loses acks: frames of AMQP pass it one by one, and it can be cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from leveret.settings import Broker

_BASIC_ACK = b"\x00\x3c\x00\x50"  # class 60, method 80
_METHOD = 1


@dataclass
class LossyLink:
    broker: Broker  # as it is seen through the link
    loses_acks: bool = False
    lost: int = 0  # acks, one of many deliveries counts as one
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        for writer in self.writers:
            writer.close()

    async def to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()

    async def to_broker(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(8))  # the protocol's header
        while True:
            head = await reader.readexactly(7)
            rest = await reader.readexactly(int.from_bytes(head[3:], "big") + 1)
            if self.loses_acks and head[0] == _METHOD and rest.startswith(_BASIC_ACK):
                self.lost += 1
                continue
            writer.write(head + rest)
            await writer.drain()


@contextlib.asynccontextmanager
async def lossy_link(broker: Broker) -> AsyncIterator[LossyLink]:
    link = LossyLink(broker)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs = await asyncio.open_connection(broker.host, broker.port)
        link.writers |= {writer, theirs[1]}
        ways = link.to_broker(reader, theirs[1]), link.to_client(theirs[0], writer)
        tasks = [asyncio.create_task(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in (writer, theirs[1]):
            one.close()
            link.writers.discard(one)
        await asyncio.gather(*tasks, return_exceptions=True)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        link.broker = replace(broker, port=server.sockets[0].getsockname()[1])
        yield link
        link.cut()
