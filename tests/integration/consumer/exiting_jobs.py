"""Handlers of which a part, somewhere on the loop, tries to end the process."""

import asyncio
import sys

from leveret import Context, Handlers, Retry

handlers = Handlers()


async def leave() -> None:
    await asyncio.sleep(0.01)
    sys.exit(3)


@handlers.job("waits")
async def waits(ctx: Context, job: float) -> str:
    await asyncio.sleep(job)
    return "unharmed"


@handlers.job("exits", retry=Retry(1))
async def exits(ctx: Context, job: str) -> str:
    loop = asyncio.get_running_loop()
    match job:
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(leave())
        case "gather":
            await asyncio.gather(leave(), leave())
        case "task":
            loop.create_task(leave())  # noqa: RUF006 - nobody awaits it
        case "soon":
            loop.call_soon(sys.exit, 3)
        case "later":
            loop.call_later(0.01, sys.exit, 3)
        case "executor":
            await loop.run_in_executor(None, sys.exit, 3)
    await asyncio.sleep(0.1)
    return "went on"
