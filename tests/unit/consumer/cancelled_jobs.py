"""Handlers that are cancelled, in each pool."""

import asyncio
import threading
import time

from leveret import Context, Handlers

handlers = Handlers()
started = threading.Event()
gate = threading.Event()


@handlers.job("loop")
async def on_the_loop(ctx: Context, job: object) -> None:
    started.set()
    await asyncio.Event().wait()


@handlers.job("thread")
def in_a_thread(ctx: Context, job: object) -> None:
    started.set()
    end = time.monotonic() + 60
    while not ctx.cancelled and time.monotonic() < end:
        time.sleep(0.005)
    raise ValueError("stops, for it is cancelled" if ctx.cancelled else "was not told")


@handlers.job("process", cpu=True)
def in_a_process(ctx: Context, job: object) -> None:
    ctx.progress(1)
    threading.Event().wait()


@handlers.job("echo process", cpu=True)
def in_a_process_at_once(ctx: Context, job: object) -> str:
    return "done"


@handlers.job("deaf loop")
async def deaf_on_the_loop(ctx: Context, job: object) -> str:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "done"
    return "never"


@handlers.job("deaf thread")
def deaf_in_a_thread(ctx: Context, job: object) -> str:
    started.set()
    gate.wait(60)
    return "done"


@handlers.job("deaf loop until its time-out", timeout=0.2)
async def deaf_until_its_time_out(ctx: Context, job: object) -> None:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()


@handlers.job("deaf thread until its time-out", timeout=0.2)
def deaf_in_a_thread_until_its_time_out(ctx: Context, job: object) -> None:
    started.set()
    gate.wait(60)
