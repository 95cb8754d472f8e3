"""A broker that confirms late: in front of a real one, everything passes at once but what confirms a publish."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from leveret.settings import Broker

HEADER, END = struct.Struct(">BHI"), 1  # type, channel, size; the byte behind the payload
CONFIRMS = {(60, 80), (60, 120)}  # basic.ack and basic.nack, which a broker sends about publishes only


@contextlib.asynccontextmanager
async def confirming_at(broker: Broker, when: Callable[[float], float]) -> AsyncIterator[Broker]:
    """Yield the same broker, that confirms at `when` what it would have confirmed at a time, both by the loop's clock."""
    links: set[asyncio.Task[None]] = set()

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        task.add_done_callback(links.discard)
        theirs, ours = await asyncio.open_connection(broker.host, broker.port)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            done, pending = await asyncio.wait(
                [asyncio.create_task(_pass_on(reader, ours)), asyncio.create_task(_answers(theirs, writer, when))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            for one in pending:
                one.cancel()
            await asyncio.gather(*done, *pending, return_exceptions=True)
        for end in (ours, writer):
            end.close()

    server = await asyncio.start_server(link, "127.0.0.1", 0)
    try:
        yield replace(broker, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for one in links:
            one.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(1 << 16):
        writer.write(some)
        await writer.drain()


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, when: Callable[[float], float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        header = await reader.readexactly(HEADER.size)
        kind, _, size = HEADER.unpack(header)
        rest = await reader.readexactly(size + END)
        if kind == 1 and struct.unpack_from(">HH", rest) in CONFIRMS:
            loop.call_at(when(loop.time()), writer.write, header + rest)
        else:
            writer.write(header + rest)
