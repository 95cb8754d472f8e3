"""Handlers that show what a job can tell while it runs, one of each kind."""

import asyncio
import time
from datetime import datetime
from pathlib import Path

from typing_extensions import TypedDict

from leveret import Context, Handlers, Retry

handlers = Handlers()


@handlers.job("tell-the-time")
async def tell_the_time(ctx: Context, gate: Path) -> None:
    while not gate.exists():
        ctx.progress(time.time())
        await asyncio.sleep(0.02)


@handlers.job("tell-the-time-in-thread")
def tell_the_time_in_thread(ctx: Context, gate: Path) -> None:
    while not gate.exists():
        ctx.progress(time.time())
        time.sleep(0.02)


@handlers.job("tell-the-time-in-process", cpu=True)
def tell_the_time_in_process(ctx: Context, gate: Path) -> None:
    tell_the_time_in_thread(ctx, gate)


class Seen(TypedDict):
    job_id: str
    queue: str
    type: str
    attempt: int
    max_attempts: int
    delivery: int
    deadline: datetime
    dead_letter: None


def _seen(ctx: Context) -> Seen:
    """Fail the first attempt; of the second, tell all that there is to tell."""
    if ctx.attempt == 1:
        raise ValueError("the first attempt fails")
    ctx.progress(2, 4)
    ctx.log.info("seen", extra={"colour": "green"})
    assert ctx.dead_letter is None
    return Seen(
        job_id=str(ctx.job_id),
        queue=ctx.queue,
        type=ctx.type,
        attempt=ctx.attempt,
        max_attempts=ctx.max_attempts,
        delivery=ctx.delivery,
        deadline=ctx.deadline,
        dead_letter=None,
    )


soon = Retry(max_attempts=3, initial=1, factor=1, jitter="none")


@handlers.job("everything", retry=soon)
async def everything(ctx: Context, gate: Path) -> Seen:
    seen = _seen(ctx)
    while not gate.exists():  # noqa: ASYNC110 - the test makes it, in another process
        await asyncio.sleep(0.05)
    return seen


@handlers.job("everything-in-thread", retry=soon)
def everything_in_thread(ctx: Context, gate: Path) -> Seen:
    seen = _seen(ctx)
    while not gate.exists():
        time.sleep(0.05)
    return seen


@handlers.job("everything-in-process", retry=soon, cpu=True)
def everything_in_process(ctx: Context, gate: Path) -> Seen:
    return everything_in_thread(ctx, gate)
