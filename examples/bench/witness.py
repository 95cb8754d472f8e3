"""Have a witness see a run for as long as it goes on, so that what ran, and when, is known without asking Leveret.

With BENCH_WITNESS set to `host:port` each run opens a connection to `examples.bench.witness_server`, tells who it is, and
goes on once that was answered: what ended was seen to begin. It holds the connection until it ends, and its last word is
how. A process that is killed says nothing any more, but its kernel closes what it held: so a run is over, for the
witness, when it is over, however that came about. Without BENCH_WITNESS nobody is told.
"""

import asyncio
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from leveret import Context

ANSWER_SECONDS = 5.0
AGAIN_AFTER = 0.1  # s
ANSWER = b"ok\n"
_PROCESS = f"{os.getpid()}-{secrets.token_hex(4)}"  # in a pod that starts again the same number comes again


@asynccontextmanager
async def witnessed(ctx: Context) -> AsyncIterator[None]:
    """Enter once the witness knows of this run of an `async def`; the job's time-out ends the wait for one that doesn't answer."""
    place, told = _place(), _who(ctx, "async")
    seen: socket.socket | None = None
    while place and seen is None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                seen = await _connected(place, told)
        except OSError as problem:
            ctx.log.warning("the witness does not answer", extra={"said": f"{type(problem).__name__}: {problem}"})
            await asyncio.sleep(AGAIN_AFTER)
    with _held(seen):
        yield


@contextmanager
def witnessed_here(ctx: Context, kind: str) -> Iterator[None]:
    """Do the same in a thread or a process of its own; `kind` tells which."""
    place, told = _place(), _who(ctx, kind)
    seen: socket.socket | None = None
    while place and seen is None:
        try:
            seen = _connected_here(place, told)
        except OSError as problem:
            ctx.log.warning("the witness does not answer", extra={"said": f"{type(problem).__name__}: {problem}"})
            time.sleep(AGAIN_AFTER)
    with _held(seen):
        yield


@contextmanager
def _held(seen: socket.socket | None) -> Iterator[None]:
    """Say how the run ended, at once and without waiting: one that is cancelled has no time."""
    last = "raised"
    try:
        yield
        last = "returned"
    except asyncio.CancelledError:
        last = "cancelled"
        raise
    finally:
        if seen:
            with seen:
                seen.setblocking(False)
                with suppress(OSError):  # a witness that is gone took the account along
                    seen.send(f"{last}\n".encode())


def _place() -> tuple[str, int] | None:
    host, _, port = os.environ.get("BENCH_WITNESS", "").rpartition(":")
    return (host, int(port)) if port else None


def _who(ctx: Context, kind: str) -> bytes:
    told = {
        "run": secrets.token_hex(8),  # what is told twice, for want of an answer, is one run
        "job": str(ctx.job_id),
        "attempt": ctx.attempt,
        "delivery": ctx.delivery,
        "kind": kind,
        "pod": socket.gethostname(),
        "process": _PROCESS,
    }
    return json.dumps(told).encode() + b"\n"


async def _connected(place: tuple[str, int], told: bytes) -> socket.socket:
    """Raise OSError if the witness doesn't answer. Of what is broken off here no connection is left."""
    loop = asyncio.get_running_loop()
    (_, _, _, _, address), *_ = await loop.getaddrinfo(*place, family=socket.AF_INET, type=socket.SOCK_STREAM)
    found = socket.socket()
    try:
        found.setblocking(False)
        await loop.sock_connect(found, address)
        await loop.sock_sendall(found, told)
        _check(await loop.sock_recv(found, len(ANSWER)))
    except BaseException:
        found.close()
        raise
    return found


def _connected_here(place: tuple[str, int], told: bytes) -> socket.socket:
    found = socket.create_connection(place, ANSWER_SECONDS)
    try:
        found.sendall(told)
        _check(found.recv(len(ANSWER)))
    except BaseException:
        found.close()
        raise
    return found


def _check(answer: bytes) -> None:
    if answer != ANSWER:
        raise ConnectionError(f"the answer is {answer!r}")
