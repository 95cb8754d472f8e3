"""A proxy of HTTP that cuts every third answer off in its middle and closes the connection: the request has arrived."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(65536):
        writer.write(some)
        await writer.drain()
    writer.close()


@dataclass
class CuttingProxy:
    server: tuple[str, int]
    url: str = ""
    answers: int = 0
    cut: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.server)
        self.writers |= {writer, far_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(pass_on(reader, far_writer), self._answered(far_reader, writer))
        for one in (writer, far_writer):
            one.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(65536):
            if some.startswith(b"HTTP/1.1 "):
                self.answers += 1
                if self.answers % 3 == 0:
                    self.cut += 1
                    writer.write(some[: len(some) // 2])
                    break
            writer.write(some)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def cutting_proxy(host: str, port: int) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy((host, port))
    async with await asyncio.start_server(proxy.accept, "127.0.0.1", 0) as server:
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy
        for writer in proxy.writers:
            writer.transport.abort()
        await asyncio.gather(*proxy.tasks)
