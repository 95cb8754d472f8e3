"""Handlers that tell their deadline, one in each pool, and some that come back when they are told to."""

import asyncio
import threading

from leveret import Context, Handlers

handlers = Handlers()
gate = threading.Event()
opened = asyncio.Event()


@handlers.job("loop", timeout=7)
async def on_the_loop(ctx: Context, job: object) -> str:
    return ctx.deadline.isoformat()


@handlers.job("thread", timeout=7)
def in_a_thread(ctx: Context, job: object) -> str:
    return ctx.deadline.isoformat()


@handlers.job("process", timeout=7, cpu=True)
def in_a_process(ctx: Context, job: object) -> str:
    return ctx.deadline.isoformat()


@handlers.job("submit loop")
async def submit_on_the_loop(ctx: Context, job: object) -> int:
    return submit(ctx, job)


@handlers.job("submit thread")
def submit_in_a_thread(ctx: Context, job: object) -> int:
    return submit(ctx, job)


@handlers.job("submit process", cpu=True)
def submit_in_a_process(ctx: Context, job: object) -> int:
    return submit(ctx, job)


def submit(ctx: Context, job: object) -> int:
    for n in range(2):
        ctx.submit("next", n, delay="1m" if n else None)
    if job:
        raise ValueError("after it")
    return 2


@handlers.job("hang loop")
async def hang_on_the_loop(ctx: Context, job: object) -> None:
    await asyncio.Event().wait()


@handlers.job("hang process", cpu=True)
def hang_in_a_process(ctx: Context, job: object) -> None:
    threading.Event().wait()


@handlers.job("late loop", timeout=0.001)
async def late_on_the_loop(ctx: Context, job: object) -> str:
    while True:
        try:
            await opened.wait()
            return "late"
        except asyncio.CancelledError:
            continue


@handlers.job("late thread", timeout=0.001)
def late_in_a_thread(ctx: Context, job: object) -> str:
    gate.wait(60)
    return "late"
