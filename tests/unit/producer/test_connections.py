"""What a stranger may send, how slowly, and how connections end at a stop: over real sockets, on a moved clock."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from leveret_producer.health import Health
from leveret_producer.http import connection
from leveret_producer.http.connection import MOST_HEAD, Connection
from leveret_producer.http.pace import BODY, FIRST_BYTE, HEAD, LEAST_RATE, Pace, Part

POST = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
GET = b"GET /jobs HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Door:
    """A server whose application answers with the length of the body, once it may."""

    health: Health = field(default_factory=Health)
    state: ServerState = field(default_factory=ServerState)
    now: float = 1000.0
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    clients: list[asyncio.StreamWriter] = field(default_factory=list)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.asked.append(scope["path"])
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"%3d" % (len(body) % 1000)})

    def look(self, after: float = 0.0) -> None:
        self.now += after
        for one in list(self.state.connections):
            assert isinstance(one, Connection)
            one.look()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = len(self.state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        async with asyncio.timeout(5):
            while len(self.state.connections) == before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        return reader, writer

    async def send(self, data: bytes) -> asyncio.StreamReader:
        reader, writer = await self.connect()
        writer.write(data)
        await settled()
        self.writer = writer
        return reader


async def settled() -> None:
    """Until what was written on loopback has been read, on both sides."""
    for _ in range(20):
        await asyncio.sleep(0.001)


@asynccontextmanager
async def opened(*, answers: bool = True) -> AsyncIterator[Door]:
    door = Door()
    if answers:
        door.may_answer.set()
    config = uvicorn.Config(door.app, log_config=None, ws="none", interface="asgi3", lifespan="off")
    config.load()
    make = partial(Connection, config, door.state, {}, health=door.health, clock=lambda: door.now)
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    door.port = server.sockets[0].getsockname()[1]
    try:
        yield door
    finally:
        door.may_answer.set()
        for one in list(door.state.connections):
            one.transport.abort()
        for client in door.clients:
            client.close()
            with contextlib.suppress(OSError):
                await client.wait_closed()
        server.close()
        await server.wait_closed()
        await settled()


async def whole(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side closes."""
    async with asyncio.timeout(5):
        return await reader.read()


def problem(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in head
    assert b"application/problem+json" in head
    found: dict[str, Any] = json.loads(body)
    assert found["status"] == status
    return found


@pytest.mark.parametrize(
    ("part", "received", "least"),
    [(Part.NOTHING, 0, FIRST_BYTE), (Part.HEAD, 0, HEAD), (Part.BODY, 0, BODY), (Part.BODY, 40_960, BODY + 10)],
)
def test_each_part_has_its_time(part: Part, received: int, least: float) -> None:
    pace = Pace(0.0, part, received)
    assert not pace.is_late(least)
    assert pace.is_late(least + 0.01)
    assert not Pace(0.0, Part.DONE).is_late(1e9)


async def test_who_says_nothing_is_closed_without_a_word() -> None:
    async with opened() as door:
        quiet = [await door.connect() for _ in range(20)]
        door.look(FIRST_BYTE - 1)
        await settled()
        assert len(door.state.connections) == 20
        door.look(2)
        assert [await whole(reader) for reader, _ in quiet] == [b""] * 20


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"P", id="one byte"),
        pytest.param(POST[:-2], id="no end of the headers"),
        pytest.param(POST + b"0123456789" + POST[:20], id="after one that was answered"),
    ],
)
async def test_a_head_that_does_not_come_is_told_so(data: bytes) -> None:
    async with opened() as door:
        reader = await door.send(data)
        door.look(HEAD - 1)
        await settled()
        assert not reader.at_eof()
        door.look(2)
        answer = await whole(reader)
        told = problem(answer[answer.rindex(b"HTTP/1.1") :], 408)
        assert "nothing was stored" in told["detail"]


@pytest.mark.parametrize(
    "head",
    [POST, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n"],
    ids=["length", "chunked"],
)
async def test_a_body_that_does_not_come_is_told_so_and_its_request_ends(head: bytes) -> None:
    async with opened() as door:
        reader = await door.send(head + b"01")
        door.look(BODY - 1)
        assert not reader.at_eof()
        door.look(2)
        assert "body" in problem(await whole(reader), 408)["detail"]
        await settled()
        assert door.asked == []
        assert not door.state.tasks


async def test_a_body_that_comes_as_fast_as_it_must_is_taken() -> None:
    size = 40 * LEAST_RATE
    async with opened() as door:
        reader, writer = await door.connect()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(40):
            writer.write(b"x" * LEAST_RATE)
            await settled()
            door.look(1.0)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_an_answer_that_takes_long_is_not_the_clients_fault() -> None:
    async with opened(answers=False) as door:
        reader = await door.send(POST + b"0123456789")
        for _ in range(100):
            door.look(100)
        door.may_answer.set()
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20), id="a header without an end"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MOST_HEAD + b"\r\n\r\n", id="one large header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", id="many headers"),
        pytest.param(b"GET /" + b"a" * (1 << 20), id="a path without an end"),
        pytest.param(b"GET /?" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a long path"),
        pytest.param(GET + b"GET / HTTP/1.1\r\nX: " + b"a" * (1 << 20), id="after another request"),
    ],
)
async def test_a_head_that_is_too_large_is_refused_before_it_is_read(data: bytes) -> None:
    async with opened() as door:
        reader = await door.send(data)
        try:
            answer = await whole(reader)
        except ConnectionResetError:  # it was still being sent
            answer = b""
        assert not door.state.connections
        if answer:
            problem(answer[answer.rindex(b"HTTP/1.1") :], 431)
        assert len(door.asked) == data.startswith(GET)


async def test_a_head_of_almost_the_limit_is_taken_each_time() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (MOST_HEAD - 100) + b"\r\n\r\n"
    async with opened() as door:
        reader, writer = await door.connect()
        for _ in range(3):
            writer.write(head[:5000])
            await settled()
            writer.write(head[5000:])
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"  0")


async def test_a_large_body_does_not_count_as_the_next_head() -> None:
    body = b"x" * (3 * MOST_HEAD)
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with opened() as door:
        reader = await door.send(post + body + GET[:10])
        door.writer.write(GET[10:])
        async with asyncio.timeout(5):
            await reader.readuntil(b"  0")


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
async def test_what_is_no_http_is_told_so(data: bytes) -> None:
    async with opened() as door:
        problem(await whole(await door.send(data)), 400)


async def test_at_a_stop_each_answer_is_the_last_of_its_connection() -> None:
    async with opened(answers=False) as door:
        began_before = await door.send(GET)
        idle, idle_writer = await door.connect()
        idle_writer.write(GET)
        await settled()
        door.may_answer.set()
        await idle.readuntil(b"  0")
        door.may_answer.clear()
        under_way = await door.send(GET)
        door.health.stopping = True
        for one in list(door.state.connections):
            one.stops()
        door.may_answer.set()
        answer = await whole(under_way)
        assert b"connection: close" in answer
        idle_writer.write(GET)
        assert b"connection: close" in await whole(idle)
        assert b"200" in (await began_before.readuntil(b"  0"))


async def test_an_idle_connection_is_closed_only_when_nothing_can_be_on_its_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "AT_REST", 0.2)
    async with opened() as door:
        quiet, _ = await door.connect()
        idle, writer = await door.connect()
        writer.write(GET)
        await idle.readuntil(b"  0")
        door.health.stopping = True
        for one in list(door.state.connections):
            one.shutdown()
        assert await whole(quiet) == b""
        writer.write(GET)  # as one that was on its way when the door was closed
        assert (await whole(idle)).startswith(b"HTTP/1.1 200")
        rests, writer = await door.connect()
        writer.write(GET[:10])
        await settled()
        (one,) = door.state.connections
        one.shutdown()
        writer.write(GET[10:])
        assert (await whole(rests)).endswith(b"  0")
