"""Write what is sent in one turn of the loop with one call to the kernel.

The client library writes each frame by itself, and uvloop hands each write to the kernel at once: a job that is done
costs a packet for its reply, its events and its ack, and wakes the broker as often. Joined, what comes together goes
together, in its order. A write waits for the turn's end and no longer; from 64 KiB on it does not wait at all, so the
transport's own limits hold up the sender as before.
"""

import asyncio
from collections.abc import Iterable

MOST = 64 * 1024  # bytes that wait for the turn's end


class JoinedWrites(asyncio.StreamWriter):
    """Takes the place of a stream's writer."""

    def __init__(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(writer.transport, writer._protocol, reader, loop)  # type: ignore[attr-defined]
        self._replaced = writer  # a writer that nobody holds closes its transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(bytes(data))
        self._size += len(data)
        if self._size >= MOST:
            self._flush()

    def writelines(self, data: Iterable[bytes | bytearray | memoryview]) -> None:
        for part in data:
            self.write(part)

    def write_eof(self) -> None:
        self._flush()
        super().write_eof()

    def close(self) -> None:
        self._flush()
        super().close()

    def _flush(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        if parts and not self.is_closing():
            self.transport.write(b"".join(parts))
