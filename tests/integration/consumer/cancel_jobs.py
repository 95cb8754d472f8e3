"""Handlers that are cancelled, one in each pool. Each run leaves lines in the payload's `witness` file."""

import asyncio
import subprocess
import time
from pathlib import Path

from pydantic import BaseModel

from leveret import Context, Handlers, Retry

handlers = Handlers()
in_two_seconds = Retry(max_attempts=3, initial=2, factor=1, jitter="none")


class Job(BaseModel):
    witness: Path
    gate: Path | None = None  # a file that the job waits for
    seconds: int = 0


def note(job: Job, ctx: Context, word: str) -> None:
    with job.witness.open("a") as file:
        file.write(f"{word} {ctx.job_id} {ctx.attempt} {time.time()}\n")


@handlers.job("loop")
async def loop(ctx: Context, job: Job) -> None:
    note(job, ctx, "start")
    try:
        while not (job.gate and job.gate.exists()):  # noqa: ASYNC110 - the test makes it, in another process
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(job, ctx, "interrupted")
        raise


@handlers.job("thread")
def thread(ctx: Context, job: Job) -> None:
    note(job, ctx, "start")
    while not (job.gate and job.gate.exists()):
        if ctx.cancelled:
            note(job, ctx, "interrupted")
            raise RuntimeError("cancelled")
        time.sleep(0.02)


@handlers.job("process", cpu=True)
def process(ctx: Context, job: Job) -> None:
    note(job, ctx, "start")
    subprocess.run(["sleep", str(job.seconds)], check=True)


@handlers.job("fail", retry=in_two_seconds)
async def fail(ctx: Context, job: Job) -> None:
    note(job, ctx, "start")
    raise ValueError("fails as asked")
