"""Frames that are written in one turn reach the kernel as one write, in order, and none waits for longer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from leveret.rabbitmq.joined_writes import MOST, JoinedWrites


class Recorded(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[bytes] = []
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing
        self.told.append(bytes(data))

    def write_eof(self) -> None:
        self.told.append(b"EOF")

    def close(self) -> None:
        self.closing = True

    abort = close

    def is_closing(self) -> bool:
        return self.closing


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[JoinedWrites, Recorded]]:
    reader = asyncio.StreamReader()
    protocol, transport = asyncio.StreamReaderProtocol(reader), Recorded()
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    yield JoinedWrites(writer, reader), transport
    transport.close()


async def test_what_one_turn_writes_goes_together_at_its_end() -> None:
    async with joined() as (writer, transport):
        writer.write(b"1")
        await writer.drain()
        writer.write(bytearray(b"2"))
        writer.writelines([b"3", b"4"])
        assert transport.told == []
        await asyncio.sleep(0)
        assert transport.told == [b"1234"]
        writer.write(b"5")
        await asyncio.sleep(0)
        assert transport.told == [b"1234", b"5"]
        await asyncio.sleep(0)
        assert transport.told == [b"1234", b"5"]


async def test_much_is_written_at_once_so_that_the_transport_can_hold_up_the_sender() -> None:
    async with joined() as (writer, transport):
        writer.write(b"1")
        writer.write(bytes(MOST))
        assert transport.told == [b"1" + bytes(MOST)]
        writer.write(b"2")
        await asyncio.sleep(0)
        assert transport.told[1:] == [b"2"]


async def test_what_is_changed_after_its_write_was_written_as_it_was() -> None:
    async with joined() as (writer, transport):
        data = bytearray(b"1")
        writer.write(data)
        data[:] = b"2"
        await asyncio.sleep(0)
        assert transport.told == [b"1"]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        pytest.param(JoinedWrites.close, [b"1"], id="closed"),
        pytest.param(JoinedWrites.write_eof, [b"1", b"EOF"], id="its end is written"),
        pytest.param(lambda writer: writer.transport.abort(), [], id="hung up"),
    ],
)
async def test_a_close_loses_nothing_that_was_written(end: Callable[[JoinedWrites], None], told: list[bytes]) -> None:
    async with joined() as (writer, transport):
        writer.write(b"1")
        end(writer)
        assert transport.told == told or transport.closing
        await asyncio.sleep(0)
        assert transport.told == told
