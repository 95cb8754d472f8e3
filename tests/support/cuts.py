"""A line to a broker that can be cut one way or both, or made slow, as a network does it: nobody is told."""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

_ATTACH_FILTER = 26  # of Linux; Python has no name for it
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: keep 0 octets
_PROGRAM = struct.pack("HL", 1, ctypes.addressof(_DROP_ALL))


@dataclass
class Line:
    """`port` is where clients find the broker."""

    broker: tuple[str, int]
    port: int = 0
    to_client: asyncio.Event = field(default_factory=asyncio.Event)  # set while octets pass
    pause: float = 0.0  # s after each octet
    _clients: list[asyncio.StreamWriter] = field(default_factory=list)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.broker)
        self._clients.append(writer)
        self._writers += [writer, far_writer]
        always = asyncio.Event()
        always.set()
        with contextlib.suppress(OSError):
            await asyncio.gather(
                self._carry(reader, far_writer, always), self._carry(far_reader, writer, self.to_client)
            )

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes: asyncio.Event) -> None:
        while octets := await reader.read(1 if self.pause else 65536):
            await passes.wait()
            writer.write(octets)
            await writer.drain()
            await asyncio.sleep(self.pause)
        writer.close()

    def cut_to_broker(self) -> None:
        """What clients send reaches nobody, and nobody acknowledges it: our kernel throws it away."""
        for writer in self._clients:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _PROGRAM)

    def cut_to_client(self) -> None:
        self.to_client.clear()

    def hang_up(self) -> None:
        """Both sides are told."""
        for writer in self._writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def line_to(host: str, port: int) -> AsyncIterator[Line]:
    made = Line((host, port))
    made.to_client.set()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for writer in made._writers:
            writer.transport.abort()
        made.to_client.set()
        await asyncio.sleep(0.05)
