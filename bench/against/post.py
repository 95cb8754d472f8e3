"""Single POSTs, 32 at once, to a producer process of each version.

The client is the least that speaks HTTP, so that the producer has the processor. Its rate ends with the last answer; its
processor time goes on until all jobs are confirmed and marked, because the relay's work belongs to each of them.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

from bench.against import Done, figures
from bench.measures import Figures, Measure, Turns
from bench.measures.broker_side import PAYLOAD, QUEUE, TYPE
from bench.measures.producing import STORED, TOKEN, Producing, producing
from bench.processes import Failed
from bench.servers import Servers
from bench.versions import TODAY, Version

POSTS = 1_000
AT_ONCE = 32
WARM_UP = 100  # in the first turns much is done that is never done again
BODY = json.dumps({"type": TYPE, "payload": json.loads(PAYLOAD)})
REQUEST = (
    f"POST /v1/queues/{QUEUE}/jobs HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}"
).encode()
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)\r\n")


def post(base: Version) -> Measure:
    compared = "single POSTs of no-op jobs, 32 at once, to one producer"
    return Measure("post", compared, partial(_open, base), ("post.rate", "post.cpu", "post.p50"))


@contextlib.asynccontextmanager
async def _open(base: Version, servers: Servers) -> AsyncIterator[Turns]:
    async with producing(servers, "post_today", TODAY) as ours, producing(servers, "post_base", base) as theirs:
        for one in (ours, theirs):
            await _turn(one, WARM_UP)
        yield Turns(partial(_turn, ours), partial(_turn, theirs))


async def _turn(producer: Producing, count: int = POSTS) -> Figures:
    cpu = producer.process.cpu_seconds()
    began = time.perf_counter()
    each = await _post_all(producer, count)
    seconds = time.perf_counter() - began
    await producer.until_confirmed()
    done = Done(count, seconds, producer.process.cpu_seconds() - cpu, each)
    await producer.clear(STORED, [QUEUE])
    return figures("post", done)


async def _post_all(producer: Producing, count: int) -> list[float]:
    """Return the seconds that each took; raise Failed."""
    each: list[float] = []
    left = iter(range(count))
    try:
        async with asyncio.TaskGroup() as connections:
            for _ in range(AT_ONCE):
                connections.create_task(_post(producer.port, left, each))
    except ExceptionGroup as problems:
        first = problems.exceptions[0]
        raise Failed(f"the producer did not accept all {count} jobs: {type(first).__name__}: {first}") from problems
    return each


async def _post(port: int, left: Iterator[int], each: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in left:
            began = time.perf_counter()
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            each.append(time.perf_counter() - began)
            if not head.startswith(b"HTTP/1.1 202 "):
                raise Failed(f"{head.decode(errors='replace').splitlines()[0]}: {body[:500].decode(errors='replace')}")
    finally:
        writer.close()
