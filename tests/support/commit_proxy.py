"""A link to a real PostgreSQL that loses COMMIT, or the answer to it: by a cut, or by silence."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum

from cutting_proxy import pass_on

COMMIT = re.compile(rb"COMMIT[;\0]")  # and not READ COMMITTED


class Loss(Enum):
    ANSWER = "the connection is cut after COMMIT"
    COMMIT = "the connection is cut before COMMIT"
    SILENCE = "COMMIT arrives, and nothing comes back"
    NOTHING = "COMMIT does not arrive, and nothing comes back"


@dataclass
class CommitProxy:
    server: tuple[str, int]
    port: int = 0
    loses: Loss | None = None  # at the next COMMIT
    lost: int = 0
    then_away: bool = False  # from then on no new connection is let through
    away: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self._serve(reader, writer)))

    def cut(self) -> None:
        for one in self.writers:
            one.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.away:
            return writer.transport.abort()
        far_reader, far_writer = await asyncio.open_connection(*self.server)
        self.writers |= {writer, far_writer}
        answers = asyncio.create_task(self._answers(far_reader, writer))
        with contextlib.suppress(OSError):
            while some := await reader.read(65536):
                if COMMIT.search(some) and (loss := self.loses):
                    self.loses, self.lost, self.away = None, self.lost + 1, self.then_away
                    answers.cancel()
                    await asyncio.wait({answers})
                    if loss in (Loss.ANSWER, Loss.SILENCE):
                        far_writer.write(some)
                        await far_reader.read(65536)
                    if loss in (Loss.SILENCE, Loss.NOTHING):
                        await reader.read(65536)
                    break
                far_writer.write(some)
                await far_writer.drain()
        answers.cancel()
        for one in (writer, far_writer):
            one.transport.abort()
        return None

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await pass_on(reader, writer)


@contextlib.asynccontextmanager
async def commit_proxy(host: str, port: int) -> AsyncIterator[CommitProxy]:
    proxy = CommitProxy((host, port))
    async with await asyncio.start_server(proxy.accept, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
        proxy.cut()
        await asyncio.gather(*proxy.tasks)
