"""The handlers of the JobQueue `bench`: work of a known kind and length.

Each run writes one log line with the job's id, its attempt, and how many runs of its type this process has made, so that a
test can tell from the logs alone what ran, how often, and where. A log may go with its pod, so each run but those of `cpu`,
which are not in the event loop, tells a witness too if there is one (`examples.bench.witness`).
"""

import asyncio
import itertools
import os
import time
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, Field, JsonValue

from examples.bench.witness import tell_witness
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


class ToldToFail(Exception):
    """This attempt fails because the job says so."""


@handlers.job("noop")
async def noop(ctx: Context, job: Noop) -> None:
    await _begin(ctx)


@handlers.job("sleep")
async def sleep_for(ctx: Context, job: Sleep) -> None:
    await _begin(ctx)
    await asyncio.sleep(job.seconds)


@handlers.job("cpu", cpu=True)
def burn_cpu(ctx: Context, job: Cpu) -> None:
    _note_run(ctx)
    until = time.process_time() + job.seconds
    while time.process_time() < until:
        pass


@handlers.job("fail")
async def fail_at_first(ctx: Context, job: Fail) -> int:
    """Fail the first `times` attempts, then return the attempt that succeeded."""
    await _begin(ctx)
    if ctx.attempt <= job.times:
        raise ToldToFail(f"attempt {ctx.attempt} of the {job.times} that fail")
    return ctx.attempt


@handlers.job("crash")
async def crash_at_first(ctx: Context, job: Crash) -> int:
    """End this consumer's process at the first `times` deliveries; at the next, return how many there were before it."""
    await _begin(ctx)
    if ctx.delivery < job.times:
        os._exit(KILLED)  # no signal: a container's first process is deaf to its own, SIGKILL included
    return ctx.delivery


@handlers.job("echo")
async def echo(ctx: Context, job: Echo) -> JsonValue:
    await _begin(ctx)
    return job.value


async def _begin(ctx: Context) -> None:
    _note_run(ctx)
    await tell_witness(ctx)


def _note_run(ctx: Context) -> None:
    run = next(_runs.setdefault(ctx.type, itertools.count(1)))
    ctx.log.info("bench job runs", extra={"attempt": ctx.attempt, "run": run})
