"""Handlers that the consumers under test run. Each run leaves a line in the payload's `witness` file."""

import asyncio
import math
import os
import time
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from pydantic import BaseModel, field_validator
from typing_extensions import TypedDict

from leveret import Context, Handlers, Reject, Retry, RetryLater

handlers = Handlers()
at_once = Retry(max_attempts=3, initial=0, max=0)
in_a_second = Retry(max_attempts=3, initial=1, factor=1, jitter="none")


class Job(BaseModel):
    witness: Path
    seconds: float = 0
    times: int = 0
    gate: Path | None = None  # a file that the job waits for


async def work(job: Job) -> None:
    await asyncio.sleep(job.seconds)
    while job.gate and not job.gate.exists():  # noqa: ASYNC110 - the test makes it, in another process
        await asyncio.sleep(0.05)


def note(ctx: Context, job: Job, word: str) -> None:
    with job.witness.open("a") as file:
        file.write(f"{word} {ctx.job_id} {ctx.attempt} {os.getpid()}\n")


@handlers.job("noop", retry=at_once)
async def noop(ctx: Context, job: dict[str, object]) -> None:
    pass


NUMBERS = {"fraction": Fraction(1, 3), "decimal": Decimal(2), "nan": math.nan, "text": "half"}


@handlers.job("tell", retry=at_once)
async def tell(ctx: Context, job: str) -> str:
    ctx.progress(NUMBERS[job])  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    return "told"


@handlers.job("tell-in-process", retry=at_once, cpu=True)
def tell_in_process(ctx: Context, job: str) -> str:
    ctx.progress(NUMBERS[job])  # type: ignore[arg-type]
    return "told"


class Careless(BaseModel):
    of: dict[str, int]

    @field_validator("of")
    @classmethod
    def x(cls, of: dict[str, int]) -> object:
        return of["x"]


@handlers.job("careless")
async def careless(ctx: Context, job: Careless) -> None:
    pass


@handlers.job("sleep", retry=at_once)
async def sleep(ctx: Context, job: Job) -> float:
    note(ctx, job, "start")
    await work(job)
    note(ctx, job, "end")
    return job.seconds


@handlers.job("fail", retry=at_once)
async def fail(ctx: Context, job: Job) -> str:
    note(ctx, job, "start")
    await work(job)
    if ctx.attempt <= job.times:
        raise ValueError(f"attempt {ctx.attempt} of {ctx.max_attempts} fails as asked")
    return "done"


@handlers.job("fail-slowly", retry=in_a_second)
async def fail_slowly(ctx: Context, job: Job) -> str:
    return await fail(ctx, job)


@handlers.job("exit", retry=at_once)
async def leave(ctx: Context, job: Job) -> None:
    note(ctx, job, "start")
    raise SystemExit(3)


class Counted(TypedDict):
    n: int
    wait: float


@handlers.job("count")
async def count(ctx: Context, job: Counted) -> None:
    for done in range(job["n"]):
        ctx.progress(done + 1, job["n"])
        await asyncio.sleep(job["wait"])


@handlers.job("count-in-thread")
def count_in_thread(ctx: Context, job: Counted) -> None:
    for done in range(job["n"]):
        ctx.progress(done + 1, job["n"])
        time.sleep(job["wait"])


@handlers.job("count-in-process", cpu=True)
def count_in_process(ctx: Context, job: Counted) -> None:
    count_in_thread(ctx, job)


@handlers.job("block-thread", timeout=0.5, retry=Retry(max_attempts=1))
def block_thread(ctx: Context, job: Job) -> None:
    note(ctx, job, "start")
    time.sleep(job.seconds)


@handlers.job("deaf", timeout=0.5, retry=Retry(max_attempts=1))
async def deaf(ctx: Context, job: Job) -> None:
    note(ctx, job, "start")
    while True:
        try:
            await asyncio.sleep(job.seconds)
        except asyncio.CancelledError:
            note(ctx, job, "not listening")


@handlers.job("spin", cpu=True, timeout=1, retry=Retry(max_attempts=1))
def spin(ctx: Context, job: Job) -> None:
    note(ctx, job, "start")
    end = time.monotonic() + job.seconds
    while time.monotonic() < end:
        pass
    note(ctx, job, "end")


@handlers.job("die", cpu=True, retry=at_once)
def die(ctx: Context, job: Job) -> str:
    note(ctx, job, "start")
    if ctx.attempt <= job.times:
        os._exit(7)
    return "done"


@handlers.job("large")
async def large(ctx: Context, job: dict[str, int]) -> str:
    return "x" * job["bytes"]


class ClosedForEver(Exception):
    """A class of this module: the consumer's own process and the handlers' each have theirs."""


picky = Retry(max_attempts=2, retry_on=(OSError,))


def answer(does: str) -> None:
    match does:
        case "reject":
            raise Reject("no such customer")
        case "give up":
            raise ClosedForEver("the shop is closed for ever")
        case "later":
            raise RetryLater(1, "the shop is closed")
        case "tomorrow":
            raise RetryLater(timedelta(days=1), "the shop is closed")


@handlers.job("answer-loop", retry=picky)
async def answer_on_the_loop(ctx: Context, job: str) -> None:
    answer(job)


@handlers.job("answer-thread", retry=picky)
def answer_in_a_thread(ctx: Context, job: str) -> None:
    answer(job)


@handlers.job("answer-process", retry=picky, cpu=True)
def answer_in_a_process(ctx: Context, job: str) -> None:
    answer(job)


@handlers.job("block-loop")
async def block_loop(ctx: Context, job: Job) -> None:
    note(ctx, job, "start")
    time.sleep(job.seconds)  # noqa: ASYNC251 - just what a handler must not do


@handlers.job("thread")
def thread(ctx: Context, job: Job) -> None:
    note(ctx, job, "start")
    time.sleep(job.seconds)
    note(ctx, job, "end")
