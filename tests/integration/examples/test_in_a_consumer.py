"""The examples' handlers in a real consumer, on a real broker: what is reported of each job."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import msgspec
import pytest
import uuid_utils.compat as uuid_utils
from aio_pika.abc import AbstractIncomingMessage
from api import eventually
from containers import free_port

from leveret import events, topology, wire
from leveret.events import JobEvent
from leveret.jobs import FINAL, Envelope, State
from leveret.rabbitmq.connection import open_connection
from leveret.rabbitmq.declare import declare
from leveret.rabbitmq.publisher import Publisher
from leveret.settings import Broker

QUEUE = "leveret.example"
RETRY = '{"maxAttempts": 2, "backoff": {"initial": "0s", "factor": 2, "max": "0s", "jitter": "none"}}'


@asynccontextmanager
async def running(log: Path, *arguments: str, **variables: str) -> AsyncIterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: ASYNC220 - it only starts
            [sys.executable, "-m", *arguments],
            env={**os.environ, "PYTHONPATH": ".", "PYTHONUNBUFFERED": "1", **variables},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


async def run_jobs(broker: Broker, jobs: list[tuple[str, object]]) -> list[JobEvent]:
    """Submit the jobs and return their final events, in the same order."""
    final: dict[UUID, JobEvent] = {}
    done = asyncio.Event()
    connection = await open_connection(broker, "test")
    async with connection:
        channel = await connection.channel()
        await declare(channel, topology.shared())
        await declare(channel, topology.for_queue(QUEUE))

        async def hear(message: AbstractIncomingMessage) -> None:
            if message.exchange == topology.EVENTS:  # dead letters themselves come here, too: for the recorder
                _, told = events.decode(message.routing_key or "", message.body)
                if isinstance(told, list):
                    final.update({event.id: event for event in told if event.state in FINAL})
            await message.ack()
            if len(final) == len(jobs):
                done.set()

        await (await channel.get_queue(topology.EVENTS)).consume(hear)
        publisher = await Publisher.open(connection)
        ids = []
        for kind, payload in jobs:
            job = Envelope(uuid_utils.uuid7(), QUEUE, kind, json.dumps(payload).encode())
            ids.append(job.id)
            await publisher.publish(topology.JOBS, QUEUE, wire.to_message(job))
        async with asyncio.timeout(150):
            await done.wait()
    return [final[id] for id in ids]  # noqa: A001


def environment(broker: Broker, handlers: str) -> dict[str, str]:
    return {
        "LEVERET_BROKER_URL": broker.url(),
        "LEVERET_QUEUE": QUEUE,
        "LEVERET_HANDLERS": handlers,
        "LEVERET_RETRY": RETRY,
        "LEVERET_PROBE_PORT": str(free_port()),
        "LEVERET_LOG": "json",
        "URL_CHECK_ALLOWED_HOSTS": "127.0.0.1",
    }


def result(event: JobEvent) -> object:
    assert event.result is not None, event
    return msgspec.json.decode(event.result)


async def test_every_kind_of_url_ends_as_it_should(broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    urls = [f"{base}/ok?i=1", f"{base}/redirect/2", f"{base}/status/404", "http://10.0.0.1/", f"{base}/flaky/k/1"]
    dead = [f"{base}/status/503", "http://127.0.0.1:1/", f"{base}/hang"]
    targets = running(tmp_path / "targets", "examples.url_check.targets", "--host", "127.0.0.1", "--port", str(port))
    consumer = running(
        tmp_path / "consumer", "leveret_consumer", **environment(broker, "examples.url_check.handlers:handlers")
    )
    async with targets, consumer:
        # A target that doesn't listen yet would use up attempts.
        healthz = f"{base}/healthz"

        def answers() -> bool:  # to read certificates for each question would take a busy machine's time
            return httpx.get(healthz, trust_env=False, verify=False).is_success  # noqa: S501 - it isn't HTTPS

        await asyncio.to_thread(eventually, "the targets answer", answers)
        ended = await run_jobs(broker, [("check-url", {"url": url}) for url in [*urls, *dead]])

    good, bad = ended[: len(urls)], ended[len(urls) :]
    assert [event.state for event in good] == [State.SUCCEEDED] * len(good)
    reports = [msgspec.convert(result(event), dict[str, object]) for event in good]
    assert [report["url"] for report in reports] == urls
    assert [report["status"] for report in reports] == [200, 200, 404, None, 200]
    assert reports[1]["redirects"] == [f"{base}/redirect/1", f"{base}/redirect/0"]
    assert str(reports[3]["error"]).startswith("refused by policy: 10.0.0.1 has the address 10.0.0.1, which is private")
    assert [event.attempt for event in good] == [1, 1, 1, 1, 2]

    assert [(event.state, event.attempt) for event in bad] == [(State.DEAD, 2)] * 3
    said = [event.error.message if event.error else "" for event in bad]
    assert "answered 503 Service Unavailable" in said[0]
    assert "could not connect to 127.0.0.1:1" in said[1]
    assert f"did not answer {base}/hang within 9 s" in said[2]

    logged = [json.loads(line)["path"] for line in (tmp_path / "targets").read_text().splitlines()]
    assert {path: logged.count(path) for path in logged} == {
        "/ok?i=1": 1,
        "/redirect/2": 1,
        "/redirect/1": 1,
        "/redirect/0": 1,
        "/status/404": 1,
        "/flaky/k/1": 2,
        "/status/503": 2,
        "/hang": 2,
    }


async def test_bench_jobs_do_as_they_are_told_and_log_each_attempt(broker: Broker, tmp_path: Path) -> None:
    log = tmp_path / "consumer"
    jobs: list[tuple[str, object]] = [
        ("noop", {}),
        ("sleep", {"seconds": 0.05}),
        ("cpu", {"seconds": 0.05}),
        ("fail", {"times": 1}),
        ("echo", {"value": [1, "ä", None]}),
        ("fail", {"times": 9}),
    ]
    async with running(log, "leveret_consumer", **environment(broker, "examples.bench.handlers:handlers")):
        ended = await run_jobs(broker, jobs)
    states = [State.SUCCEEDED] * 5 + [State.DEAD]
    assert [event.state for event in ended] == states, [event.error for event in ended]
    assert [result(event) for event in ended[:5]] == [None, None, None, 2, [1, "ä", None]]

    lines = [json.loads(line) for line in log.read_text().splitlines() if "bench job runs" in line]
    runs = [(line["job"], line["attempt"]) for line in lines]
    assert sorted(runs) == sorted((str(event.id), n) for event in ended for n in range(1, event.attempt + 1))
    assert all(line["run"] >= 1 for line in lines)


@pytest.fixture(autouse=True)
def from_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[3])
