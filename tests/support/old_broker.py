"""A proxy before a broker that makes it say that it is an older one, for as long as it is told to."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from leveret.settings import Broker

# The version as AMQP writes it in a table: a short name, the letter for a long text, its length in four bytes.
_VERSION = re.compile(rb"(\x07versionS.{4})[0-9]", re.DOTALL)


@dataclass
class Masked:
    """The broker behind the proxy, and its major version as the proxy tells it."""

    broker: Broker
    major: bytes | None = b"3"  # None: as it is
    connections: int = 0


@contextlib.asynccontextmanager
async def masked(broker: Broker) -> AsyncIterator[Masked]:
    """Listen on a free port for as long as the context lasts."""
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.connections += 1
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        task.add_done_callback(links.discard)
        behind_reader, behind_writer = await asyncio.open_connection(broker.host, broker.port)
        try:
            ways = (_pass(reader, behind_writer, None), _pass(behind_reader, writer, made.major))
            await asyncio.wait([asyncio.create_task(way) for way in ways], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in (writer, behind_writer):
                end.close()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    made = Masked(replace(broker, host="127.0.0.1", port=server.sockets[0].getsockname()[1]))
    try:
        yield made
    finally:
        server.close()
        for task in list(links):
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, major: bytes | None) -> None:
    """Pass on what comes; the first frame is where a broker names its version."""
    with contextlib.suppress(OSError):
        first = await reader.read(65_536)
        writer.write(first if major is None else _VERSION.sub(rb"\g<1>" + major, first, count=1))
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
