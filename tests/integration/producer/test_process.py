"""The process itself: what it listens on, and how it stops."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from containers import free_port, wait_until
from producers import QUEUE, TOKEN, message_ids, operating, process_environment

from leveret.settings import Broker, Database


class Process:
    def __init__(self, broker: Broker, database: Database) -> None:
        self.port, self.metrics_port = free_port(), free_port()
        environment = process_environment(broker, database, self.port, self.metrics_port) | {"LEVERET_LOG": "json"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leveret_producer"], env=environment, stderr=subprocess.PIPE
        )

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()
        return self.ask("/readyz")[0] == 200

    def ask(self, path: str, body: object = None, port: int | None = None) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.port}{path}", data)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, problem.read().decode()
        except OSError as problem:
            return 0, str(problem)


@pytest.fixture
def process(broker: Broker, database: Database) -> Iterator[Process]:
    one = Process(broker, database)
    yield one
    one.process.kill()
    one.process.communicate()


async def test_it_serves_and_leaves_in_order(process: Process, broker: Broker) -> None:
    async with operating(broker, QUEUE):
        await asyncio.to_thread(wait_until, "ready", process.is_ready)
        await asyncio.to_thread(wait_until, "known", lambda: process.ask(f"/v1/queues/{QUEUE}")[0] == 200)
        jobs = [{"type": "free", "payload": number} for number in range(500)]
        status, told = await asyncio.to_thread(process.ask, f"/v1/queues/{QUEUE}/jobs", jobs)
        assert status == 202
        process.process.send_signal(signal.SIGTERM)
        said: dict[str, tuple[int, str]] = {}

        def stopping() -> bool:
            said["readyz"] = process.ask("/readyz")
            if said["readyz"][0] == 503:  # for 3 s: the rest is asked at once, and judged later
                said["healthz"] = process.ask("/healthz")
                said["metrics"] = process.ask("/metrics", port=process.metrics_port)
            return "metrics" in said

        await asyncio.to_thread(wait_until, "stopping", stopping, 10)
        assert "stopping" in said["readyz"][1]
        assert said["healthz"][0] == 200
        assert f'leveret_jobs_submitted_total{{queue="{QUEUE}"}} 500.0' in said["metrics"][1]
        assert await asyncio.to_thread(process.process.wait, 90) == 0
        assert process.process.stderr is not None
        log = process.process.stderr.read().decode()
        assert "Traceback" not in log
        assert all(json.loads(line) for line in log.splitlines())
        assert set(await message_ids(broker, QUEUE)) == {job["id"] for job in json.loads(told)["jobs"]}


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("LEVERET_LISTEN_PORT", "door", "LEVERET_LISTEN_PORT is 'door', and must be a port, 1 to 65535"),
        *(
            (
                "LEVERET_TOKEN",
                token,
                "the API's token must be of ASCII letters, digits and signs, with no space at its ends: no client could send another "
                "one as a bearer token",
            )
            for token in ("schlüssel-zum-tor-der-jobs",)
        ),
    ],
)
def test_a_setting_that_can_not_be_is_told_in_a_sentence(variable: str, value: str, told: str) -> None:
    environment = {**os.environ, variable: value}
    done = subprocess.run(
        [sys.executable, "-m", "leveret_producer"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"leveret-producer: {told}\n"
