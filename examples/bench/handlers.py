"""The handlers of the JobQueue `bench`: work of a known kind and length.

Each run writes one log line with the job's id, its attempt, and how many runs of its type this process has made, so that a
test can tell from the logs alone what ran, how often, and where. A log may go with its pod, so a witness, if there is one,
sees each run from its beginning to its end (`examples.bench.witness`).
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from examples.bench.witness import witnessed, witnessed_here
from leveret import Context, Handlers

KILLED = 137  # the exit code of what the kernel ended for want of memory

handlers = Handlers()

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_runs: dict[str, Iterator[int]] = {}


class Noop(BaseModel):
    """Nothing to know."""


class Sleep(BaseModel):
    seconds: Seconds


class Cpu(BaseModel):
    seconds: Seconds  # of processor time, however long that takes


class Fail(BaseModel):
    times: Annotated[int, Field(ge=0)]


class Crash(BaseModel):
    times: Annotated[int, Field(ge=0)]


class Echo(BaseModel):
    value: JsonValue


class Stay(BaseModel):
    seconds: Seconds
    again: Seconds  # what it takes if it was delivered before


class Bulk(BaseModel):
    seconds: Seconds
    characters: Annotated[int, Field(ge=0)]  # of the result


class ToldToFail(Exception):
    """This attempt fails because the job says so."""


@handlers.job("noop")
async def noop(ctx: Context, job: Noop) -> None:
    async with _run(ctx):
        pass


@handlers.job("sleep")
async def sleep_for(ctx: Context, job: Sleep) -> None:
    async with _run(ctx):
        await asyncio.sleep(job.seconds)


@handlers.job("bulk")
async def return_much(ctx: Context, job: Bulk) -> str:
    async with _run(ctx):
        await asyncio.sleep(job.seconds)
        return "x" * job.characters


@handlers.job("stay")
async def stay(ctx: Context, job: Stay) -> None:
    async with _run(ctx):
        await asyncio.sleep(_length(ctx, job))


@handlers.job("stay-thread")
def stay_in_a_thread(ctx: Context, job: Stay) -> None:
    with _run_here(ctx, "thread"):
        time.sleep(_length(ctx, job))


@handlers.job("stay-process", cpu=True)
def stay_in_a_process(ctx: Context, job: Stay) -> None:
    with _run_here(ctx, "cpu"):
        time.sleep(_length(ctx, job))


@handlers.job("cpu", cpu=True)
def burn_cpu(ctx: Context, job: Cpu) -> None:
    with _run_here(ctx, "cpu"):
        until = time.process_time() + job.seconds
        while time.process_time() < until:
            pass


@handlers.job("fail")
async def fail_at_first(ctx: Context, job: Fail) -> int:
    """Fail the first `times` attempts, then return the attempt that succeeded."""
    async with _run(ctx):
        if ctx.attempt <= job.times:
            raise ToldToFail(f"attempt {ctx.attempt} of the {job.times} that fail")
        return ctx.attempt


@handlers.job("crash")
async def crash_at_first(ctx: Context, job: Crash) -> int:
    """End this consumer's process at the first `times` deliveries; at the next, return how many there were before it."""
    async with _run(ctx):
        if ctx.delivery < job.times:
            os._exit(KILLED)  # no signal: a container's first process is deaf to its own, SIGKILL included
        return ctx.delivery


@handlers.job("echo")
async def echo(ctx: Context, job: Echo) -> JsonValue:
    async with _run(ctx):
        return job.value


def _length(ctx: Context, job: Stay) -> float:
    return job.again if ctx.delivery else job.seconds


@asynccontextmanager
async def _run(ctx: Context) -> AsyncIterator[None]:
    _note_run(ctx)
    async with witnessed(ctx):
        yield


@contextmanager
def _run_here(ctx: Context, kind: str) -> Iterator[None]:
    _note_run(ctx)
    with witnessed_here(ctx, kind):
        yield


def _note_run(ctx: Context) -> None:
    run = next(_runs.setdefault(ctx.type, itertools.count(1)))
    ctx.log.info("bench job runs", extra={"attempt": ctx.attempt, "run": run})
