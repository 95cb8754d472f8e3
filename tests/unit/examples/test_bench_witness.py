"""The witness sees each run of a bench handler from its beginning to its end, however it ends."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import pytest

from examples.bench.handlers import ToldToFail, handlers
from examples.bench.witness import witnessed
from examples.bench.witness_server import Witness, _print_runs
from leveret import Context
from leveret.sdk.handlers import Pool

JOB = UUID(int=7)


class Seen:
    """A witness that listens, and what it saw."""

    def __init__(self) -> None:
        self.witness = Witness()
        self.port = 0
        self.refuses = 0  # connections that are closed before an answer
        self.served = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.refuses -= 1
            writer.close()
            return
        await self.witness.serve(reader, writer)
        self.served += 1

    async def ended(self, count: int) -> list[dict[str, object]]:
        """Return the runs once so many connections are over."""
        while self.served < count:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
        return self.witness.runs("")

    async def began(self) -> None:
        while not self.witness.runs(""):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.001)


@pytest.fixture
async def seen(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Seen]:
    seen = Seen()
    async with await asyncio.start_server(seen.serve, "127.0.0.1", 0) as server:
        seen.port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("BENCH_WITNESS", f"127.0.0.1:{seen.port}")
        yield seen


async def run(type: str, body: bytes, *, delivery: int = 0) -> None:
    handler = handlers[type]
    context = Context(JOB, type=type, attempt=2, delivery=delivery)
    payload = handler.read(body)
    if handler.pool is Pool.LOOP:
        await handler.function(context, payload)  # type: ignore[misc]
    else:
        await asyncio.to_thread(handler.function, context, payload)


@pytest.mark.parametrize(
    ("type", "body", "kind"),
    [
        ("noop", b"{}", "async"),
        ("sleep", b'{"seconds": 0}', "async"),
        ("echo", b'{"value": 1}', "async"),
        ("bulk", b'{"seconds": 0, "characters": 9}', "async"),
        ("fail", b'{"times": 1}', "async"),
        ("crash", b'{"times": 0}', "async"),
        ("stay", b'{"seconds": 0, "again": 0}', "async"),
        ("stay-thread", b'{"seconds": 0, "again": 0}', "thread"),
        ("stay-process", b'{"seconds": 0, "again": 0}', "cpu"),
        ("cpu", b'{"seconds": 0}', "cpu"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_run_is_seen_from_its_beginning_to_its_end(seen: Seen, type: str, body: bytes, kind: str) -> None:
    for _ in range(2):
        await run(type, body, delivery=3)

    runs = await seen.ended(2)

    assert len({told["run"] for told in runs}) == 2
    for told in runs:
        assert (told["job"], told["attempt"], told["delivery"], told["kind"]) == (str(JOB), 2, 3, kind)
        assert (told["last"], told["pod"]) == ("returned", socket.gethostname())
        assert str(told["process"]).startswith(f"{os.getpid()}-")
        assert told["began"] <= told["ended"]  # type: ignore[operator]
    assert set(handlers) == {
        "noop",
        "sleep",
        "echo",
        "bulk",
        "fail",
        "crash",
        "stay",
        "stay-thread",
        "stay-process",
        "cpu",
    }


async def test_a_run_that_goes_on_has_no_end_yet(seen: Seen) -> None:
    running = asyncio.create_task(run("sleep", b'{"seconds": 60}'))
    await seen.began()

    assert [(told["ended"], told["last"]) for told in seen.witness.runs("")] == [(None, None)]

    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_a_run_that_is_cancelled_says_so_and_does_not_wait(seen: Seen) -> None:
    entered = asyncio.Event()

    async def handler() -> None:
        async with witnessed(Context(JOB)):
            entered.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(handler())
    await entered.wait()
    running.cancel()
    await asyncio.wait([running], timeout=0)

    assert running.cancelled()
    assert [told["last"] for told in await seen.ended(1)] == ["cancelled"]


async def test_a_run_that_fails_says_so(seen: Seen) -> None:
    with pytest.raises(ToldToFail):
        await run("fail", b'{"times": 2}')

    assert [told["last"] for told in await seen.ended(1)] == ["raised"]


STAY = """
import sys
from uuid import UUID
from examples.bench.handlers import Stay, stay_in_a_process
from leveret import Context
stay_in_a_process(Context(UUID(int=7)), Stay(seconds=60, again=60))
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
async def test_a_process_that_is_killed_ends_its_run_for_the_witness_at_once(
    seen: Seen, signum: signal.Signals
) -> None:
    """It says nothing any more; its kernel closes what it held."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STAY)
    await seen.began()
    process.send_signal(signum)
    runs = await seen.ended(1)
    await process.wait()

    assert [told["last"] for told in runs] == ["gone"]
    assert runs[0]["ended"] is not None


async def test_a_process_that_stands_still_goes_on_for_the_witness(seen: Seen) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STAY)
    await seen.began()
    process.send_signal(signal.SIGSTOP)
    assert [told["ended"] for told in seen.witness.runs("")] == [None]
    process.kill()
    await seen.ended(1)
    await process.wait()


@pytest.mark.parametrize("type", ["noop", "stay-thread"])
async def test_a_run_asks_until_the_witness_answers(seen: Seen, type: str) -> None:
    seen.refuses = 1

    await run(type, b'{"seconds": 0, "again": 0}')

    assert len(await seen.ended(1)) == 1


async def test_a_run_does_not_go_on_without_its_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_WITNESS", "127.0.0.1:1")  # no server may have this port

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run("noop", b"{}")


@pytest.mark.parametrize(("delivery", "seconds"), [(0, "0"), (1, "60"), (3, "60")])
async def test_what_stays_may_take_another_time_when_it_is_delivered_again(delivery: int, seconds: str) -> None:
    other = "60" if seconds == "0" else "0"

    await run("stay", f'{{"seconds": {seconds}, "again": {other}}}'.encode(), delivery=delivery)


async def test_one_run_that_is_told_twice_ends_with_its_last_connection(seen: Seen) -> None:
    """Its first answer was lost, so it told again."""
    line = json.dumps({"run": "00", "job": "j", "pod": "p"}).encode() + b"\n"
    first, second = [await asyncio.open_connection("127.0.0.1", seen.port) for _ in range(2)]
    for reader, writer in (first, second):
        writer.write(line)
        assert await reader.readline() == b"ok\n"
    first[1].close()
    await seen.ended(1)
    assert [told["ended"] for told in seen.witness.runs("")] == [None]

    second[1].write(b"returned\n")
    second[1].close()

    assert [told["last"] for told in await seen.ended(2)] == ["returned"]


@pytest.mark.parametrize("line", [b"no JSON\n", b"[]\n", b"7\n", b"{}\n", b"", b"\xff\n"])
async def test_what_is_no_run_harms_nobody(seen: Seen, line: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", seen.port)
    writer.write(line)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()

    await run("noop", b"{}")

    assert len(await seen.ended(2)) == 1


async def test_the_runs_are_read_by_their_pods(seen: Seen, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    await run("noop", b"{}")
    await seen.ended(1)

    for pods in (socket.gethostname(), "nobody-"):
        reading = threading.Thread(target=_print_runs, args=(seen.port, pods))
        reading.start()
        while reading.is_alive():  # noqa: ASYNC110 - the server runs in this loop
            await asyncio.sleep(0.001)

    said = capfdbinary.readouterr().out
    assert said.endswith(b"[]")
    assert [told["job"] for told in json.loads(said[:-2])] == [str(JOB)]
