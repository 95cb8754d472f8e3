"""Handlers that tell which event loop they run on."""

import asyncio

from leveret import Context, Handlers

handlers = Handlers()


@handlers.job("loop")
async def loop(ctx: Context, job: object) -> str:
    return type(asyncio.get_running_loop()).__module__


@handlers.job("thread")
def thread(ctx: Context, job: object) -> str:
    return "a thread"


@handlers.job("process", cpu=True)
def process(ctx: Context, job: object) -> str:
    return "a process"
