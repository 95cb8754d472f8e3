"""request_reply on a real broker with a real consumer: every style, many at once, and every way in which a call ends."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn
from containers import Server, free_port, management
from cuts import line_to

from examples.request_reply.front import create_app
from leveret import topology
from leveret.client.rpc import ConnectionConfig, Style
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.settings import Broker

ROOT = Path(__file__).resolve().parents[3]
QUEUE = "leveret.request-reply"
STYLES = [str(style) for style in Style]
AT_ONCE = 300  # in each style
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def queue(broker: Broker) -> None:
    async with await open_connection(broker, "test") as connection:
        channel = await connection.channel()
        await declare(channel, topology.shared())
        await declare(channel, topology.for_queue(QUEUE))


@pytest.fixture
def start(broker: Broker, tmp_path: Path) -> Iterator[Start]:
    """Start a process of the example; it is killed at the end of the test."""
    paths = [str(ROOT), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    given = {"LEVERET_BROKER_URL": broker.url(), "LEVERET_QUEUE": QUEUE, "PYTHONPATH": os.pathsep.join(paths)}
    started: list[subprocess.Popen[bytes]] = []

    def process(module: str, **variables: object) -> subprocess.Popen[bytes]:
        environment = os.environ | given | {name: str(value) for name, value in variables.items()}
        with (tmp_path / f"{module}.log").open("ab") as log:
            started.append(subprocess.Popen([sys.executable, "-m", module], env=environment, cwd=ROOT, stderr=log))
        return started[-1]

    yield process
    for one in started:
        one.kill()
        one.wait()


def consumer(start: Start, handlers: str = "examples.request_reply.handlers:handlers") -> subprocess.Popen[bytes]:
    own = {"LEVERET_HANDLERS": handlers, "LEVERET_PROBE_PORT": free_port(), "LEVERET_CONCURRENCY": 20}
    return start("leveret_consumer", **own)


def asking(port: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits, trust_env=False)


async def ask(front: httpx.AsyncClient, message: str, style: str) -> httpx.Response:
    return await front.post("/ask", json={"message": message, "style": style})


async def connected(front: httpx.AsyncClient, styles: list[str] = STYLES) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await front.get("/readyz")
                if answer.json()["connected"] == sorted(styles):
                    return
            await asyncio.sleep(0.05)


async def all_answered(front: httpx.AsyncClient) -> None:
    asked = [(f"{style} {n} ä", style) for n in range(AT_ONCE) for style in STYLES]
    answers = await asyncio.gather(*(ask(front, *one) for one in asked))
    assert {answer.status_code for answer in answers} == {200}, [one.text for one in answers if not one.is_success][:3]
    assert [answer.json()["reply"] for answer in answers] == [f"Consumer processed {message}" for message, _ in asked]
    assert len({answer.json()["correlation_id"] for answer in answers}) == len(asked)


async def test_many_at_once_in_every_style_and_a_front_that_is_told_to_stop_answers_what_it_was_asked(
    rabbitmq: Server, broker: Broker, queue: None, start: Start
) -> None:
    port = free_port()
    process, consumes = start("examples.request_reply.front", PORT=port), consumer(start)
    async with asking(port) as front:
        await connected(front)
        await all_answered(front)
        longest = await ask(front, "x" * 65_536, "direct")
        assert len(longest.json()["reply"]) == 65_536 + len("Consumer processed ")

        consumes.send_signal(signal.SIGTERM)
        await asyncio.to_thread(consumes.wait, 60)
        late = [asyncio.create_task(ask(front, f"late {n}", style)) for n in range(10) for style in STYLES]
        await _ready(rabbitmq, broker, len(late))
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while await _listens(port):  # noqa: ASYNC110 - it's another process's doing
                await asyncio.sleep(0.05)
        consumer(start)
        assert {answer.status_code for answer in await asyncio.gather(*late)} == {200}
    assert await asyncio.to_thread(process.wait, 30) in (
        0,
        -signal.SIGTERM,
    )  # uvicorn ends by the signal that it was sent
    left = management(rabbitmq, f"queues/{broker.vhost}")
    assert isinstance(left, list)
    replies = [one for one in left if one["name"].startswith(("request-reply.", "amq."))]
    assert [one["name"] for one in replies] == [f"request-reply.replies.{socket.gethostname()}"]
    assert replies[0]["arguments"]["x-expires"] == 600_000


async def _ready(rabbitmq: Server, broker: Broker, messages: int) -> None:
    async with (
        asyncio.timeout(30),
        await open_connection(broker, "test") as connection,
        connection.channel() as channel,
    ):
        while (await channel.declare_queue(QUEUE, passive=True)).declaration_result.message_count != messages:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@contextlib.asynccontextmanager
async def serving(config: Callable[[], ConnectionConfig], pod: str) -> AsyncIterator[httpx.AsyncClient]:
    """A front whose calls have 2 s, in this event loop."""
    app = create_app(config, QUEUE, pod, seconds=2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5))
        running = asyncio.create_task(server.serve(sockets=[listener]))
        async with asking(listener.getsockname()[1]) as front:
            yield front
        server.should_exit = True
        await running


def told(answer: httpx.Response) -> tuple[int, str, str | None]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].rpartition("/")[2], answer.headers.get("retry-after")


async def test_every_way_in_which_a_call_ends_without_its_answer(broker: Broker, queue: None, start: Start) -> None:
    config = ConnectionConfig(broker.username, broker.password, broker.host, broker.port, broker.vhost)
    consumer(start, "asked_jobs:handlers")
    async with line_to(broker.host, broker.port) as line:
        ports = [1]  # where the front looks for the broker: it is away at the start
        async with serving(lambda: replace(config, port=ports[0]), "pod-1") as front:
            assert [told(await ask(front, "a", style)) for style in STYLES] == [(503, "disconnected", "2")] * 3
            ports[0] = line.port
            await connected(front)
            async with serving(lambda: config, "pod-1") as second:  # of the same name: its fixed queue is taken
                await connected(second, ["direct", "exclusive"])
                assert told(await ask(second, "a", "fixed")) == (503, "disconnected", "2")
            for style in STYLES:
                async with asyncio.timeout(60):  # the consumer may still be starting
                    while not (answer := await ask(front, "other", style)).is_success:
                        assert told(answer) == (504, "deadline-exceeded", None)
                assert answer.json()["reply"] == "{'a': [1]}"
                died = await ask(front, "die", style)
                assert told(died) == (502, "dead", None)
                assert (died.json()["reason"], died.json()["published"]) == ("Rejected", "confirmed")
            late = await asyncio.gather(*(ask(front, "slow", style) for style in STYLES))
            assert [told(answer) for answer in late] == [(504, "deadline-exceeded", None)] * 3
            assert all(answer.json()["job"] for answer in late)

            in_flight = [asyncio.create_task(ask(front, "slow", style)) for style in STYLES]
            await asyncio.sleep(0.5)
            ports[0] = 1
            line.hang_up()
            await connected(front, [])
            assert [told(await ask(front, "a", style)) for style in STYLES] == [(503, "disconnected", "2")] * 3
            assert [told(answer) for answer in await asyncio.gather(*in_flight)] == [(503, "disconnected", "2")] * 3
            ports[0] = line.port
            await connected(front)
            assert [(await ask(front, "other", style)).status_code for style in STYLES] == [200] * 3
