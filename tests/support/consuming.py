"""A consumer process with the handlers of its tests, and what a producer says of the jobs that it runs."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from containers import free_port
from producers import QUEUE, Producer, eventually_true

from leveret.settings import Broker

HANDLERS = Path(__file__).parents[1] / "integration" / "consumer"


def environment(broker: Broker, port: int, *, queue: str, pod: str) -> dict[str, str]:
    """Return the environment of a `python -m leveret_consumer` that says at a port how it is."""
    return os.environ | {
        "LEVERET_BROKER_URL": broker.url(),
        "LEVERET_QUEUE": queue,
        "LEVERET_HANDLERS": "consumer_jobs:handlers",
        "LEVERET_PROBE_PORT": str(port),
        "LEVERET_POD": pod,
        "LEVERET_LOG": "json",
        "PYTHONPATH": os.pathsep.join([str(HANDLERS), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


@contextlib.asynccontextmanager
async def consuming(broker: Broker, log: Path, queue: str = QUEUE) -> AsyncIterator[str]:
    """Run a consumer process for as long as the context lasts; yield where it says how it is."""
    port = free_port()
    command = [sys.executable, "-m", "leveret_consumer"]
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: ASYNC220 - it takes milliseconds
            command, env=environment(broker, port, queue=queue, pod="pod"), stderr=file
        )
    try:
        yield f"http://127.0.0.1:{port}/readyz"
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


async def in_states(producer: Producer, jobs: Sequence[str], *states: str, seconds: float = 60) -> None:
    """Wait until the store says so of each job."""

    async def are() -> bool:
        found.clear()
        answers = [(await producer.http.get(f"/v1/jobs/{job}")).json() for job in jobs]
        found.extend([str(one.get("state")) for one in answers])  # None of one that nothing was heard of yet
        return found == list(states)

    found: list[str] = []
    try:
        await eventually_true(are, "the jobs' states", seconds)
    except AssertionError as problem:
        raise AssertionError(f"{problem}: {found} instead of {states}") from None
