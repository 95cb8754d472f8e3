"""Handlers that consumers of both versions run: they use what both have."""

import asyncio
from pathlib import Path

from pydantic import BaseModel

from leveret import Context, Handlers, Reject, Retry

handlers = Handlers()
at_once = Retry(max_attempts=3, initial=0, max=0)


@handlers.job("echo")
async def echo(ctx: Context, job: object) -> object:
    await asyncio.sleep(0.01)
    return job


@handlers.job("third-time", retry=at_once)
async def third_time(ctx: Context, job: object) -> int:
    if ctx.attempt < 3:
        raise ValueError(f"attempt {ctx.attempt} fails as asked")
    return ctx.attempt


@handlers.job("redriven")
async def redriven(ctx: Context, job: str) -> str:
    """Succeeds when it is run again, which its file tells: the first run makes it."""
    file = Path(job) / str(ctx.job_id)
    if not file.exists():
        file.touch()
        raise Reject("not the first time")
    return "redriven"


@handlers.job("rejected")
async def rejected(ctx: Context, job: object) -> None:
    raise Reject("as asked")


class Counted(BaseModel):
    count: int
    names: set[str] = set()


@handlers.job("counted")
async def counted(ctx: Context, job: Counted) -> int:
    return job.count
