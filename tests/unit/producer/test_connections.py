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

from leveret.settings import Places
from leveret_producer.health import Health
from leveret_producer.http import connection
from leveret_producer.http.connection import MOST_WAITING, Connection
from leveret_producer.http.pace import ANSWER, BODY, FIRST_BYTE, HEAD, LEAST_RATE, REFUSED, Pace, Part
from leveret_producer.http.refusals import MOST_HEAD
from leveret_producer.http.server import Server
from leveret_producer.settings import Settings

POST = b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
GET = b"GET /jobs HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST /jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = 32 << 20  # bytes: more than a kernel holds for a connection
KEPT = 75  # s


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
    headers: dict[bytes, bytes] = field(default_factory=dict)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", scope["path"] != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        self.asked.append(scope["path"])
        self.headers = dict(scope["headers"])
        await self.may_answer.wait()
        answer = b"%3d" % (len(body) % 1000) if scope["path"] != "/large" else bytes(LARGE)
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def look(self, after: float = 0.0) -> None:
        self.now += after
        for one in list(self.state.connections):
            assert isinstance(one, Connection)
            one.look()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = len(self.state.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.clients.append(writer)
        async with asyncio.timeout(30):
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
    config = uvicorn.Config(
        door.app, log_config=None, ws="none", interface="asgi3", lifespan="off", timeout_keep_alive=KEPT
    )
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
    async with asyncio.timeout(30):
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
    ("part", "moved", "least"),
    [
        (Part.NOTHING, [], FIRST_BYTE),
        (Part.HEAD, [], HEAD),
        (Part.BODY, [], BODY),
        (Part.ANSWER, [], ANSWER),
        (Part.BODY, [(5, 4096)], BODY + 1),
        (Part.BODY, [(at, 2048) for at in range(1000)], BODY + 19.5),
        (Part.BODY, [(at, 1) for at in range(21)], BODY + 21 / 4096),
        (Part.BODY, [(1, 8 << 20)], BODY + 1),
        (Part.BODY, [(at, 8192) for at in range(1000)], BODY + 999),
        (Part.ANSWER, [(1, 8 << 20)], ANSWER + 1),
    ],
)
def test_each_part_has_its_time(part: Part, moved: list[tuple[float, int]], least: float) -> None:
    pace = Pace(part, 0.0)
    for at, size in moved:
        if pace.is_late(at):
            break
        pace.moved(size, at)
    assert not pace.is_late(least - 0.01)
    assert pace.is_late(least + 0.01)
    assert not Pace(Part.DONE, 0.0).is_late(1e9)


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
        told = problem(answer[answer.rindex(b"HTTP/1.1 ") :], 408)
        assert "nothing of it was stored" in told["detail"]


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
        door.look(REFUSED + 1)
        await settled()
        assert not door.state.connections
        if answer:
            problem(answer[answer.rindex(b"HTTP/1.1 ") :], 431)
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
        async with asyncio.timeout(30):
            await reader.readuntil(b"  0")


NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01",
    b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET jobs HTTP/1.1\r\nHost: x\r\n\r\n",
    *(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % bad
        for bad in (b"-1", b"1, 1", b"+1", b"0x1", b"9" * 30)
    ),
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    CHUNKED.replace(b"chunked", b"chunked, gzip"),
    CHUNKED + b"f" * 17 + b"\r\n",
    CHUNKED + b"1\r\nab\r\n",
]


@pytest.mark.parametrize("data", NO_HTTP)
@pytest.mark.parametrize("before", [0, 1, 3])
async def test_what_is_no_http_is_told_so_after_the_answers_before_it(data: bytes, before: int) -> None:
    async with opened(answers=not before) as door:
        reader = await door.send(GET * before + data)
        door.writer.write(GET)  # is not looked at
        await settled()
        assert door.asked == ["/jobs"] * bool(before)
        if before:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await reader.read(1)
        door.may_answer.set()
        answer = await whole(reader)
        assert door.asked == ["/jobs"] * before
        assert answer.count(b"HTTP/1.1 200") == before
        problem(answer[answer.rindex(b"HTTP/1.1 4") :], 400)


@pytest.mark.parametrize("head", [GET[:-2], b"GET", POST, CHUNKED + b"1;"], ids=["head", "byte", "body", "chunk"])
async def test_who_is_slow_is_told_so_after_the_answer_before(head: bytes) -> None:
    async with opened(answers=False) as door:
        reader = await door.send(GET + head)
        door.look(1)
        door.may_answer.set()
        await reader.readuntil(b"  0")
        door.look(BODY + 1)
        problem(await whole(reader), 408)
        assert door.asked == ["/jobs"]


async def test_a_slow_head_is_not_answered_as_the_request_before_it() -> None:
    async with opened(answers=False) as door:
        reader = await door.send(GET + GET[:-2])
        door.look(HEAD + 1)
        door.look(1)
        door.may_answer.set()
        await reader.readuntil(b"  0")
        problem(await whole(reader), 408)


async def test_requests_that_wait_for_others_are_bounded_and_the_last_answer_says_so() -> None:
    async with opened(answers=False) as door:
        reader = await door.send(GET * 2000)
        (one,) = door.state.connections
        assert isinstance(one, Connection)
        assert len(one.pipeline) == MOST_WAITING
        door.may_answer.set()
        answer = await whole(reader)
    assert answer.count(b"HTTP/1.1 200") == MOST_WAITING + 1
    assert answer.count(b"connection: close") == 1
    assert b"connection: close" in answer[answer.rindex(b"HTTP/1.1 ") :]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(CHUNKED + b"0\r\nX: " + b"a" * (1 << 20), id="a trailer without an end"),
        pytest.param(CHUNKED + b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 200_000, id="many trailers"),
        pytest.param(CHUNKED + b"1;" + b"a" * (1 << 20), id="a chunk's extension without an end"),
        pytest.param(CHUNKED + (b"1;" + b"a" * 5000 + b"\r\nx\r\n") * 200, id="many extensions"),
        pytest.param(CHUNKED + b"0" * (1 << 20), id="a chunk's size without an end"),
    ],
)
@pytest.mark.parametrize("size", [700, 1 << 20], ids=["in small pieces", "at once"])
async def test_what_is_beside_a_body_is_bounded(data: bytes, size: int) -> None:
    async with opened() as door:
        reader, writer = await door.connect()
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(data), size):
                writer.write(data[at : at + size])
                await writer.drain()
        problem(await whole(reader), 431)
        assert door.asked == []


async def test_a_body_may_come_by_the_byte_and_a_trailer_is_no_header() -> None:
    async with opened() as door:
        chunks = b"1\r\nx\r\n" * 50_000
        reader = await door.send(
            CHUNKED + chunks + b"0\r\nAuthorization: Bearer x\r\nExpect: 100-continue\r\n\r\n" + GET
        )
        await reader.readuntil(b"  0")
        await reader.readuntil(b"  0")
        door.writer.write(CHUNKED + b"0\r\nAuthorization: Bearer x\r\n\r\n")
        await reader.readuntil(b"  0")
        assert b"authorization" not in door.headers


@pytest.mark.parametrize("size", [1, 100, 1460, 1 << 16])
@pytest.mark.parametrize("header", [b"a:b\r\n", b"abc: " + b"d" * 500 + b"\r\n"], ids=["many", "long"])
async def test_the_limit_of_a_head_is_the_same_however_it_comes(size: int, header: bytes) -> None:
    def head(length: int) -> bytes:
        found = GET[:-2] + header * ((length - len(GET) - 6) // len(header))
        return found + b"x:" + b"y" * (length - len(found) - 6) + b"\r\n\r\n"

    for length, status in ((MOST_HEAD, 200), (MOST_HEAD + 100, 431)):
        async with opened() as door:
            (one, data) = (await door.connect(), head(length))
            assert len(data) == length
            (protocol,) = door.state.connections
            for at in range(0, length, size):
                protocol.data_received(data[at : at + size])
            assert (await one[0].readline()).startswith(b"HTTP/1.1 %d" % status)


@pytest.mark.parametrize(
    ("data", "after"),
    [
        pytest.param(GET, b"\r\n", id="an empty line"),
        pytest.param(GET, b"", id="nothing"),
        pytest.param(POST.replace(b"/jobs", b"/early"), b"0123456789", id="the body of what was answered"),
        pytest.param(POST.replace(b"/jobs", b"/early") + b"01234", b"56789\r\n", id="half of it"),
    ],
)
async def test_who_rests_is_closed_whatever_came_late(data: bytes, after: bytes) -> None:
    async with opened() as door:
        reader = await door.send(data)
        await reader.readuntil(b"  0")
        door.writer.write(after)
        await settled()
        for _ in range(KEPT - 1):
            door.look(1)
            door.writer.write(b"\r\n")
        await settled()
        assert not reader.at_eof()
        door.look(1)
        assert await whole(reader) == b""


async def test_who_was_answered_may_not_send_the_rest_for_ever() -> None:
    async with opened() as door:
        reader = await door.send(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 2**63)
        await reader.readuntil(b"  0")
        with contextlib.suppress(ConnectionError):
            for _ in range(22):
                door.look(1)
                door.writer.write(bytes(1 << 20))
                await door.writer.drain()
            await whole(reader)
        await settled()
        assert not door.state.connections


async def test_a_body_that_was_asked_for_and_does_not_come_is_told_so() -> None:
    async with opened() as door:
        reader = await door.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        await reader.readuntil(b"100 Continue\r\n\r\n")
        door.look(BODY + 1)
        problem(await whole(reader), 408)


@pytest.mark.parametrize("asks", [1, 30])
async def test_who_does_not_take_an_answer_is_cut(asks: int) -> None:
    async with opened() as door:
        reader = await door.send(GET.replace(b"/jobs", b"/large") * asks)
        for _ in range(6):  # what is taken slowly, too
            await reader.readexactly(1000)
            await settled()
            door.look(ANSWER / 4)
        await settled()
        assert not door.state.connections
        assert not door.state.tasks


async def test_who_takes_an_answer_at_the_least_rate_is_waited_for() -> None:
    async with opened() as door:
        reader = await door.send(GET.replace(b"/jobs", b"/large"))
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(LARGE >> 20):
            await reader.readexactly(1 << 20)
            await settled()
            door.look(ANSWER / 2)


@pytest.mark.parametrize("data", [POST + b"0123456789", GET], ids=["POST", "GET"])
@pytest.mark.parametrize(
    ("options", "answers"),
    [(b"Upgrade\r\nUpgrade: websocket", 2), (b"Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c", 1)],
)
async def test_an_upgrade_that_is_offered_is_not_taken_however_it_comes(
    data: bytes, options: bytes, answers: int
) -> None:
    offer = data.replace(b"Host: x", b"Host: x\r\nConnection: " + options)
    async with opened() as door:
        for at in range(1, len(offer) + 1, 3):
            door.asked.clear()
            reader, _ = await door.connect()
            (protocol,) = [one for one in door.state.connections if isinstance(one, Connection) and one.cycle is None]
            protocol.data_received(offer[:at])
            protocol.data_received(offer[at:] + GET)
            for body in (b" 10" if data != GET else b"  0", b"  0")[:answers]:
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
                await reader.readuntil(b"\r\n\r\n" + body)
            assert door.asked == ["/jobs"] * answers


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"http://x/jobs?a=b", "/jobs"), (b"http://x", "/"), (b"http://x?a=b", "/"), (b"//x/y", "//x/y"), (b"*", "*")],
)
async def test_a_target_may_be_a_whole_address(target: bytes, path: str) -> None:
    async with opened() as door:
        reader = await door.send(GET.replace(b"/jobs", target))
        await reader.readuntil(b"  0")
        assert door.asked == [path]


async def test_the_server_leaves_when_it_said_so_though_its_counter_begins_anew() -> None:
    health, now = Health(stopping=True), [1000.0]
    server = Server(Door().app, Settings(Places({}), "a"), health, clock=lambda: now[0])
    server.config.load()
    for at, counter in ((0.0, 863_999), (2.9, 0), (3.0, 1)):
        now[0] = 1000 + at
        assert await server.on_tick(counter) == (at == 3.0)


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
